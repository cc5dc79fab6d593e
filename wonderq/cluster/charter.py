"""The charter of a cluster: what is fixed when it is made. It is a value that all nodes read, and a file of each node.

Nodes that have different charters would look for a queue in different shards, so a node that knows another charter does
not start.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from wonderq_storage import StorageError

#: Name of the bucket of NATS that holds what all nodes share.
BUCKET = "wonderq"

#: Name of the value, and of the file in a node's folder.
CHARTER = "charter"
CHARTER_FILE = "cluster.json"

MOST_SHARDS = 256


class CharterError(Exception):
    """This node does not fit the cluster. The message has both sides, and what to do."""


class Value(Protocol):
    """A value that was read; see `wonderq_storage.jetstream_values.StoredValue`."""

    @property
    def data(self) -> bytes: ...

    @property
    def revision(self) -> int: ...


class Values(Protocol):
    """Values that all nodes share; `wonderq_storage.jetstream_values.JetStreamValues` describes the methods."""

    @property
    def exists(self) -> bool: ...

    def make(self, replicas: int) -> None: ...

    def get(self, name: str) -> Value | None: ...

    def put(self, name: str, data: bytes, *, revision: int) -> None: ...


class Charter(NamedTuple):
    """What is fixed for the life of a cluster."""

    cluster_id: str
    """16 hexadecimal digits, made at random."""
    shards: int
    replicas: int
    """Number of NATS servers that store each message."""

    def stream(self, shard: int) -> str:
        """Return the name of the stream that has a shard."""
        return f"WQ_{self.cluster_id}_{shard}"

    def encode(self) -> bytes:
        return json.dumps({"version": 1, **self._asdict()}).encode()


def decode(data: bytes, place: str) -> Charter:
    """Read a charter. ``place`` names where it was, for people.

    Raises:
        CharterError: these bytes are none that this WonderQ can read.
    """
    try:
        fields = json.loads(data)
        version = fields.pop("version")
        found = Charter(**fields)
        is_valid = (
            version == 1
            and re.fullmatch(r"[0-9a-f]{16}", found.cluster_id) is not None
            and type(found.shards) is int
            and 1 <= found.shards <= MOST_SHARDS
            and type(found.replicas) is int
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_valid = False
    if not is_valid:
        raise CharterError(
            f"{place} is no charter of a cluster that this WonderQ can read. Use the version that made it."
        )
    return found


class Wanted(NamedTuple):
    """What the settings of a node say; None for what they leave open."""

    shards: int | None
    replicas: int | None


class Wishes(NamedTuple):
    """What a new cluster gets if the settings leave it open."""

    shards: int
    replicas: int


def join(
    values: Values, folder: Path, wanted: Wanted, defaults: Wishes, await_others: Callable[[Callable[[], bool]], None]
) -> Charter:
    """Return the charter of the cluster, which is made if there is none, and keep it in ``folder``.

    ``await_others(is_made)`` is called before a cluster is made. It returns once all nodes of the settings are there,
    or when ``is_made()`` is true because another node was faster.

    Raises:
        CharterError: the node has been in another cluster, or its settings differ from the charter.
        StorageError: the charter cannot be read or written.
    """
    kept = _kept(folder / CHARTER_FILE)
    charter = _read(values)
    if charter is None:
        if kept is not None:
            raise CharterError(
                f"{folder / CHARTER_FILE} says that this node belongs to the cluster {kept.cluster_id}, and NATS has "
                "none. Give the addresses of that cluster's nodes (--peers, --nats-url), or an empty --data folder."
            )
        await_others(lambda: _read(values) is not None)
        charter = _make(values, wanted, defaults)
    _check(charter, kept, wanted, folder / CHARTER_FILE)
    if kept is None:
        _keep(folder / CHARTER_FILE, charter)
    return charter


def _read(values: Values) -> Charter | None:
    found = values.get(CHARTER) if values.exists else None
    return None if found is None else decode(found.data, "the value 'charter' in NATS")


def _make(values: Values, wanted: Wanted, defaults: Wishes) -> Charter:
    replicas = wanted.replicas or defaults.replicas
    charter = Charter(secrets.token_hex(8), wanted.shards or defaults.shards, replicas)
    try:
        if not values.exists:
            values.make(replicas)
        values.put(CHARTER, charter.encode(), revision=0)
    except StorageError:
        made = _read(values)  # another node was faster
        if made is None:
            raise
        return made
    return charter


def _check(charter: Charter, kept: Charter | None, wanted: Wanted, file: Path) -> None:
    if kept is not None and kept.cluster_id != charter.cluster_id:
        raise CharterError(
            f"{file} says that this node belongs to the cluster {kept.cluster_id}, and these peers are the cluster "
            f"{charter.cluster_id}. Give the addresses of its own cluster, or an empty --data folder."
        )
    for name, own, fixed in (
        ("shards", wanted.shards, charter.shards),
        ("replicas", wanted.replicas, charter.replicas),
    ):
        if own is not None and own != fixed:
            raise CharterError(
                f"the cluster was made with {fixed} {name}, and --{name} is {own}. That is fixed for the life of a "
                f"cluster: set --{name} {fixed}, or leave it out."
            )


def _kept(file: Path) -> Charter | None:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    return decode(data, str(file))


def _keep(file: Path, charter: Charter) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # keys and messages are for the owner alone
    unfinished = file.with_name(file.name + ".tmp")
    with unfinished.open("wb") as output:
        output.write(charter.encode())
        output.flush()
        os.fsync(output.fileno())
    unfinished.replace(file)
