"""The NATS servers that have the replicas of streams, and the removal of one that is gone for ever."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from typing import Any, NamedTuple

from wonderq_storage.errors import LogFailedError
from wonderq_storage.jetstream_stream import Pauses, patiently
from wonderq_storage.nats import JetStream, NatsError, NatsTimeoutError, NoRespondersError

_CALL_S, _PATIENCE_S = 2.0, 20.0

#: Time for all servers to answer a question to all of them.
_ALL_S = 1.0

_ALL_SERVERS = "$SYS.REQ.SERVER.PING.JSZ"


#: Stands for the name of a server without a cluster, which tells none.
_ALONE = "the only server"


class Replica(NamedTuple):
    """One server that has a replica, as the leader of the stream knows it."""

    server: str
    is_current: bool
    """Whether it has all that was acknowledged."""
    is_offline: bool


class StreamReplicas(NamedTuple):
    """The replicas of one stream."""

    stream: str
    wanted: int
    """Number of replicas that it is to have."""
    leader: str | None
    """Server that leads them, or None during an election."""
    others: tuple[Replica, ...]

    @property
    def servers(self) -> set[str]:
        """Names of all servers that are to have a replica."""
        return {each.server for each in self.others} | ({self.leader} if self.leader else set())

    def gone(self, answering: Collection[str]) -> set[str]:
        """Return the names of the servers that are not there. ``answering`` are those that answer now; none if unknown.

        The leader takes some minutes to notice that a server is gone.
        """
        return {each.server for each in self.others if each.is_offline or (answering and each.server not in answering)}

    @property
    def is_complete(self) -> bool:
        """Whether all replicas are there, and have all that was acknowledged."""
        current = [each for each in self.others if each.is_current and not each.is_offline]
        return self.leader is not None and len(self.others) == len(current) == self.wanted - 1


def names_of_streams(jetstream: JetStream) -> list[str]:
    """Return the names of all streams of the account.

    Raises:
        LogFailedError: JetStream does not answer.
    """
    found: list[str] = []
    while True:
        answer = _patiently("all streams", jetstream, "STREAM.NAMES", {"offset": len(found)})
        page = [str(each) for each in answer.get("streams") or ()]
        found += page
        if not page or len(found) >= int(answer.get("total", 0)):
            return sorted(found)


def replicas_of(jetstream: JetStream, stream: str) -> StreamReplicas:
    """Return the replicas of a stream.

    Raises:
        LogFailedError: no leader of it answers.
    """
    answer = _patiently(stream, jetstream, f"STREAM.INFO.{stream}", None)
    cluster = answer.get("cluster") or {"leader": _ALONE}
    others = tuple(
        Replica(str(each.get("name")), bool(each.get("current")), bool(each.get("offline")))
        for each in cluster.get("replicas") or ()
    )
    wanted = int((answer.get("config") or {}).get("num_replicas", 1))
    return StreamReplicas(stream, wanted, cluster.get("leader"), others)


def servers_that_answer(jetstream: JetStream) -> set[str]:
    """Return the names of all servers that answer now; none if this account may not ask them."""
    found: set[str] = set()
    replies = jetstream.connection.request_many(_ALL_SERVERS, b"", timeout_s=_ALL_S)
    with contextlib.closing(replies), contextlib.suppress(NoRespondersError, NatsTimeoutError):
        for reply in replies:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                found.add(str(json.loads(reply.payload)["server"]["name"]))
    return found


def members(system: JetStream) -> dict[str, bool]:
    """Return the servers that elect the leader of JetStream, and whether each is there. ``system`` may ask for that.

    Raises:
        LogFailedError: nobody leads JetStream.
    """
    pauses = Pauses(_PATIENCE_S)
    while True:
        for answer in _answers(system, {"accounts": False}):
            meta = (answer.get("data") or {}).get("meta_cluster") or {}
            server = (answer.get("server") or {}).get("name")
            if server and meta.get("leader") == server:
                others = {str(each["name"]): not each.get("offline") for each in meta.get("replicas") or ()}
                return {str(server): True, **others}
        if not pauses.wait():
            raise LogFailedError(
                "no NATS server leads JetStream. Check that more than half of the servers are connected"
            )


def _answers(jetstream: JetStream, body: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    replies = jetstream.connection.request_many(_ALL_SERVERS, json.dumps(body).encode(), timeout_s=_ALL_S)
    with contextlib.closing(replies), contextlib.suppress(NatsError):
        for reply in replies:
            with contextlib.suppress(ValueError):
                found.append(json.loads(reply.payload))
    return found


def remove_server(system: JetStream, name: str) -> None:
    """Remove a server from all groups for ever. JetStream makes replicas elsewhere of those that it had.

    ``system`` is a connection of the system account.

    Raises:
        LogFailedError: JetStream refuses, or does not answer.
    """
    _patiently("JetStream", system, "SERVER.REMOVE", {"peer": name})


def _patiently(what: str, jetstream: JetStream, call: str, body: dict[str, Any] | None) -> dict[str, Any]:
    return patiently(what, lambda: jetstream.call(call, body, timeout_s=_CALL_S), Pauses(_PATIENCE_S))
