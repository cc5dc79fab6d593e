"""`wonderq cluster replace`: remove the NATS server of a machine that is gone for ever, so another takes its place.

JetStream has lost acknowledged messages when servers were removed while others failed (Jepsen, nats-server issue 7545).
So nothing is removed unless every other server is there and every other replica has everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq_storage.jetstream_replicas import (
    StreamReplicas,
    members,
    names_of_streams,
    remove_server,
    replicas_of,
    servers_that_answer,
)
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.address import Address

_POLL_S = 0.5

#: Patience with copies that are behind. Under load one of them is behind for a moment at nearly any time.
_BEHIND_S = 10.0


@dataclass(frozen=True)
class Replaced:
    """Result of a replacement."""

    streams: int
    """Number of streams, each of which has all of its replicas again."""
    removed: bool
    """Whether the old server was removed now. An earlier call may have done so."""


class Replacement:
    """The server ``new`` takes the place of ``old``. ``system`` has addresses with the user of the system account."""

    def __init__(self, logs: ClusterLogs, system: Sequence[Address], old: str, new: str) -> None:
        self._logs = logs
        self._system = system
        self._old = old
        self._new = new

    def check(self) -> bool:
        """Check that the old server may be removed; return whether it is still to be removed.

        Raises:
            ClusterToolError: it may not: it is there, the new one is not, or something else is not whole.
            StorageError: NATS does not answer.
        """
        old, new = self._old, self._new
        if old == new:
            raise ClusterToolError(
                "both names are the same. A machine that comes back with the same name needs no replacement: start its "
                "node with an empty folder, and it gets everything from the others"
            )
        self._logs.hear()
        answering = servers_that_answer(self._logs.jetstream)
        if old in self._logs.nodes or old in answering:
            raise ClusterToolError(
                f"{old} is there. Stop its node first, or leave it: only a machine that is gone is replaced"
            )
        if new not in answering:
            raise ClusterToolError(
                f"the NATS server of {new} is not there, but {', '.join(sorted(answering))}. Start the node first: "
                f"wonderq cluster start --name {new}, with --peers that name the others"
            )
        with self._as_system() as system:
            known = members(system)
        # JetStream takes some minutes to notice that a server is gone, so all of them must answer now.
        there = {name for name, is_there in known.items() if is_there} & answering
        missing = sorted(known.keys() - there - {old})
        if missing:
            raise ClusterToolError(
                f"the NATS servers {', '.join(missing)} are not there either. Nothing is removed while others are "
                "missing. Start them first"
            )
        if new not in known:
            raise ClusterToolError(f"the NATS server of {new} has not joined JetStream yet. Try again in a moment")
        replicas = self._await_others()
        if old not in known and not any(old in each.servers for each in replicas):
            if all(each.is_complete for each in replicas) and not self._has_vacancy(replicas):
                raise ClusterToolError(
                    f"there is no NATS server {old} in this cluster, but {', '.join(sorted(known))}, and nothing is "
                    "missing"
                )
            return False
        return True

    def _has_vacancy(self, replicas: Sequence[StreamReplicas]) -> bool:
        return any(len(each.servers) < each.wanted for each in replicas)

    def _await_others(self) -> list[StreamReplicas]:
        """Return the replicas of all streams once the servers that stay have had all of each stream."""
        deadline_s = time.monotonic() + _BEHIND_S
        found = []
        for stream in self._streams():
            while refusal := self._refusal(replicas := replicas_of(self._logs.jetstream, stream)):
                if time.monotonic() >= deadline_s:
                    raise ClusterToolError(refusal)
                threading.Event().wait(_POLL_S)
            found.append(replicas)
        return found

    def _refusal(self, replicas: StreamReplicas) -> str:
        """Return why the old server must not be removed from a stream, or an empty string."""
        bad = sorted(
            each.server
            for each in replicas.others
            if each.server not in (self._old, self._new) and (each.is_offline or not each.is_current)
        )
        if replicas.leader is None or bad:
            reason = f"{', '.join(bad)} do not have all of it" if bad else "nobody leads it"
            return (
                f"the stream {replicas.stream} is not whole: {reason}. Nothing is removed before it is. "
                "'wonderq cluster check' shows a copy that stays incomplete"
            )
        if replicas.wanted == 1 and replicas.leader == self._old:
            return f"the stream {replicas.stream} is only on {self._old}. Restore a backup instead"
        return ""

    def carry_out(self, *, wait_s: float, is_to_be_removed: bool, tell: Callable[[int, int], object]) -> Replaced:
        """Remove the old server, and wait until each stream has all of its replicas.

        ``tell`` is called with the number of streams that have them, and of all streams, when it changes.

        Raises:
            ClusterToolError: that takes longer than ``wait_s``. It goes on.
            StorageError: NATS refuses, or does not answer.
        """
        if is_to_be_removed:
            with self._as_system() as system:
                remove_server(system, self._old)
        deadline_s = time.monotonic() + wait_s
        told = -1
        while True:
            replicas = self._replicas()
            complete = sum(each.is_complete and self._old not in each.servers for each in replicas)
            if complete != told:
                tell(complete, len(replicas))
                told = complete
            if complete == len(replicas):
                return Replaced(complete, is_to_be_removed)
            if time.monotonic() >= deadline_s:
                raise ClusterToolError(
                    f"{complete} of {len(replicas)} streams have all replicas after {wait_s:g} s. The others go on "
                    "copying. Stop no other node before that is done; the same command waits for it again"
                )
            threading.Event().wait(_POLL_S)

    def _streams(self) -> list[str]:
        return names_of_streams(self._logs.jetstream)

    def _replicas(self) -> list[StreamReplicas]:
        return [replicas_of(self._logs.jetstream, each) for each in self._streams()]

    @contextmanager
    def _as_system(self) -> Iterator[JetStream]:
        with closing(Connection(self._system, name="wonderq")) as connection:
            yield JetStream(connection)
