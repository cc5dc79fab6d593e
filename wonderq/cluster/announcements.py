"""Announcements of the nodes of a cluster to each other, five times a second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

Role = Literal["owner", "released", "damaged", "other"]
"""``released``: this node was the owner, and has ended in order. ``other``: it tells only what it knows."""

ROLES: tuple[Role, ...] = get_args(Role)

State = Literal["able", "draining", "unable"]
"""``draining``: it gives its shards away, and takes none. ``unable``: its clock is wrong, or too few nodes hear it."""

STATES: tuple[State, ...] = get_args(State)

_MAX_CHARACTERS = 128
#: The settings permit hosts of 255 characters. Nobody would hear a node whose address they permit, and this does not.
_MAX_URL_CHARACTERS = 300
_MAX_NUMBER = 1 << 63
_MOST_SHARDS = 1024
_MOST_NODES = 64

#: Fields that another version may leave out. Not `heard`: others step down for nodes that seem to hear nobody.
_OPTIONAL: Mapping[str, Any] = {"version": "", "url": "", "offered": None, "warm": [], "owners": {}}


class OfShard(NamedTuple):
    """What a node knows of one shard."""

    role: Role
    epoch: int
    """Number of its own ownership, if it is or was the owner; otherwise of the newest one that it knows of."""
    log_id: str
    """Identity of the shard's log, in hexadecimal; empty if it is not known."""
    sequence: int
    """Sequence of the newest message that is known to be acknowledged."""
    log_bytes: int = 0
    """Size of the log. The owner tells this and what follows, for people to see."""
    waiting_ms: int = 0
    """Time that the oldest group without an acknowledgement has waited."""
    replicas: int = 0
    """NATS servers that are to have the log; 0 if that is not known."""
    replicas_current: int = 0
    """NATS servers that have all of the log."""


class Announcement(NamedTuple):
    """The state of one node."""

    node: str
    token: str
    """Random text, the same for the life of the process."""
    state: State
    version: str
    """Version of its WonderQ."""
    url: str
    """Address at which clients reach it."""
    time_ms: int
    """Its wall clock, in ms since 1970."""
    offered: tuple[int, str] | None
    """Shard that it wants to hand over, and the node that shall have it."""
    warm: Sequence[int]
    """Shards that it has read, and can take over at once."""
    shards: Mapping[int, OfShard]
    heard: Mapping[str, int]
    """Nodes that it hears, by name, and the ms since it heard each one last."""
    owners: Mapping[int, str]
    """The nodes among them that own shards, by shard."""

    def encode(self) -> bytes:
        fields = self._asdict()
        fields["shards"] = {str(shard): list(of) for shard, of in self.shards.items()}
        fields["owners"] = {str(shard): node for shard, node in self.owners.items()}
        return json.dumps(fields).encode()


def decode(data: bytes) -> Announcement | None:
    """Return an announcement, or None for bytes that are none."""
    try:
        # Another version may tell more or less, here and of each shard.
        told = {name: value for name, value in json.loads(data).items() if name in Announcement._fields}
        fields = {**_OPTIONAL, **told}
        shards = {int(shard): OfShard(*of[: len(OfShard._fields)]) for shard, of in fields.pop("shards").items()}
        offered = fields.pop("offered")
        owners = {int(shard): node for shard, node in fields.pop("owners").items()}
        offer = None if offered is None else (offered[0], offered[1])
        found = Announcement(offered=offer, shards=shards, owners=owners, **fields)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None
    return _as_known(found) if _is_valid(found) else None


def _as_known(found: Announcement) -> Announcement:
    """Return an announcement with roles and states of a newer version as those that claim nothing."""
    shards = {shard: of if of.role in ROLES else of._replace(role="other") for shard, of in found.shards.items()}
    return found._replace(state=found.state if found.state in STATES else "unable", shards=shards)


def _is_valid(found: Announcement) -> bool:
    return (
        all(map(_is_text, (found.node, found.token, found.version)))
        and _is_text(found.url, _MAX_URL_CHARACTERS)
        and _is_text(found.state)
        and _is_number(found.time_ms)
        and (found.offered is None or (_is_number(found.offered[0]) and _is_text(found.offered[1])))
        and isinstance(found.warm, list)
        and all(map(_is_number, found.warm))
        and len(found.shards) <= _MOST_SHARDS
        and all(map(_is_number, found.shards))
        and all(
            _is_text(of.role) and _is_text(of.log_id) and all(map(_is_number, (of.epoch, of.sequence, *of[4:])))
            for of in found.shards.values()
        )
        and isinstance(found.heard, dict)
        and len(found.heard) <= _MOST_NODES
        and all(_is_text(node) and _is_number(ms) for node, ms in found.heard.items())
        and len(found.owners) <= _MOST_SHARDS
        and all(_is_number(shard) and _is_text(node) for shard, node in found.owners.items())
    )


def _is_text(value: Any, most: int = _MAX_CHARACTERS) -> bool:
    return isinstance(value, str) and len(value) <= most


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER
