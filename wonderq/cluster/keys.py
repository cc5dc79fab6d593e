"""The API keys of a cluster: a value that all nodes share, and a copy of it in the key file of each node.

`wonderq key` changes the file of any node. The node finds the keys that were added or removed since it last looked, and
makes the same changes to the value. Keys never change, so changes of several nodes can always be merged.

A second file records the keys that the node saw last. If either file is missing, the node cannot tell which keys were
added or removed here, and takes the value as it is. So a missing key file does not revoke the keys of everybody.

Another value has the ids of revoked keys. A key that the cluster does not have any more looks like one that was added
here, if the key file is an old one, or if the node could write the key file and not the second one. The ids are no part
of the keys, because earlier versions of WonderQ accept only keys there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from wonderq.auth import keys as key_file
from wonderq.auth.keys import Key, KeysError
from wonderq.cluster.charter import Values
from wonderq_storage import StorageError

logger = logging.getLogger("wonderq.keys")

#: Names of the values.
KEYS = "keys"
REVOKED = "revoked_keys"

#: Ids of revoked keys that are remembered, the newest ones. They take less than 160 kB.
MOST_REVOKED = 10_000

#: File with the keys that the node and the cluster had in common last.
SYNCED_FILE = "keys.synced.json"

_PAUSE_S = 0.2


class _Revoked(msgspec.Struct):
    """The value with the ids of revoked keys, in the order in which they were revoked."""

    version: Literal[1]
    ids: list[str]


_decode_revoked = msgspec.json.Decoder(_Revoked).decode


def merge(base: Sequence[Key], local: Sequence[Key], shared: Sequence[Key], revoked: Collection[str] = ()) -> list[Key]:
    """Return the shared keys with the changes that were made locally since both were ``base``.

    Keys with the ids ``revoked`` are not added.
    """
    base_ids, local_ids = {each.id for each in base}, {each.id for each in local}
    shared_ids = {each.id for each in shared}
    kept = [each for each in shared if each.id in local_ids or each.id not in base_ids]
    others = {*base_ids, *shared_ids, *revoked}
    added = [each for each in local if each.id not in others]
    return sorted([*kept, *added], key=lambda each: (each.created_at, each.id))


class SharedKeys:
    """The copy of one node.

    Threads: the caller calls one method at a time.
    """

    def __init__(self, values: Values, file: Path, folder: Path) -> None:
        self._values = values
        self._file = file
        self._synced = folder / SYNCED_FILE
        self._last_problem = ""

    def begin(self) -> None:
        """Get the keys before the first request: a node without them would permit everything.

        Raises:
            KeysError: a file of this node cannot be read or written.
        """
        while not self._try():
            time.sleep(_PAUSE_S)

    def sync(self) -> None:
        """Pass local changes on, and take those of others over. After a problem, the keys stay as they are.

        Raises:
            StorageError: the value cannot be read or written.
        """
        try:
            self._sync()
            self._last_problem = ""
        except (KeysError, ValueError) as error:
            self._tell(str(error))

    def _try(self) -> bool:
        try:
            self._sync()
        except (StorageError, ValueError) as error:
            self._tell(str(error))
            return False
        return True

    def _tell(self, problem: str) -> None:
        if problem != self._last_problem:
            logger.error("the keys of the cluster cannot be followed: %s. The keys read before stay in use", problem)
        self._last_problem = problem

    def _sync(self) -> None:
        synced, synced_stamp = key_file.read(self._synced)
        local, stamp = key_file.read(self._file)
        found = self._values.get(KEYS)
        shared = [] if found is None else key_file.decode(found.data)
        if found is None:
            base: list[Key] = []  # nobody can have revoked what the cluster never had
        elif stamp is None or synced_stamp is None:
            base = local  # as if nothing was changed here
            self._tell_ignored(local, shared)
        else:
            base = synced
        merged, revoked, returned = merge(base, local, shared), list[str](), set[str]()
        if _ids(merged) != _ids(shared):
            revoked, revision = self._revoked()
            merged = merge(base, local, shared, revoked)
            returned = _ids(local).intersection(revoked) - _ids(base) - _ids(merged)
            gone = _ids(shared) - _ids(merged) - set(revoked)
            if gone:  # first: once the keys are gone, any node might take them for its own
                ids = [*revoked, *sorted(gone)][-MOST_REVOKED:]
                self._values.put(REVOKED, msgspec.json.encode(_Revoked(1, ids)), revision=revision)
        if _ids(merged) != _ids(shared):
            self._values.put(KEYS, key_file.encode(merged), revision=0 if found is None else found.revision)
            logger.info("this node has changed the keys of the cluster: %d keys", len(merged))
        if _ids(merged) != _ids(local):
            # Merged again: somebody may have changed the file just now.
            key_file.change(self._file, lambda now: merge(base, now, merged, revoked))
            self._tell_revoked(returned)
        if synced_stamp is None or _ids(merged) != _ids(synced):
            # Also without keys: the first key that is created later is then one that was added.
            key_file.change(self._synced, lambda _: merged)

    def _revoked(self) -> tuple[list[str], int]:
        """Return the ids of revoked keys, and the revision of that value."""
        found = self._values.get(REVOKED)
        if found is None:
            return [], 0
        try:
            return _decode_revoked(found.data).ids, found.revision
        except msgspec.DecodeError as error:
            raise ValueError(f"the list of revoked keys cannot be read: {error}") from error

    def _tell_revoked(self, ids: Collection[str]) -> None:
        if ids:
            logger.warning(
                "%s has keys that were revoked, so they are removed from the file: %s. To permit somebody something "
                "again, create a new key",
                self._file,
                ", ".join(sorted(ids)),
            )

    def _tell_ignored(self, local: Sequence[Key], shared: Sequence[Key]) -> None:
        ignored = sorted(_ids(local) - _ids(shared))
        if ignored:
            logger.warning(
                "%s has keys that the cluster does not have, and this node is new there. They may have been "
                "revoked, so they are removed from the file: %s",
                self._file,
                ", ".join(ignored),
            )


def _ids(keys: Sequence[Key]) -> set[str]:
    return {each.id for each in keys}
