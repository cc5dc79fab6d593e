"""The edge's side of forwarding: passes a request on to the node that owns its shard, and waits for the response."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from wonderq.cluster import wire
from wonderq.cluster.applications import Outcome, Response
from wonderq.cluster.shards import Process, Shards
from wonderq.cluster.wire import ForwardedRequest
from wonderq.runtime.fibers import Event
from wonderq_storage.nats import (
    ClientClosedError,
    Connection,
    NatsError,
    NatsUnreachableError,
    NoRespondersError,
    PayloadTooLargeError,
    Reply,
)

#: Longest wait for a response, besides the longest ``wait`` of a request. An append is tried for 30 s at most.
ANSWER_S = 30.0

#: A response of the former owner that arrives this long after another node has announced the shard still counts, unless
#: the former owner is not heard any more. Then its process has probably ended, and the client should not wait for it.
GRACE_S = 0.25

#: A request that takes longer waits for messages, or for a log. Ending that changes nothing for the latter.
_POLL_S = 0.25

_GONE = Outcome("done", Response("503 Service Unavailable", [], ()))


class _Pending:
    """A request that waits for its response. The thread that reads NATS, and that of ``changed``, tell it news."""

    def __init__(self) -> None:
        self.news = Event()
        self._arrived: deque[Reply | NatsError] = deque()
        self._body: list[bytes] = []
        self.owner_was_lost = False

    def arrive(self, reply: Reply | NatsError) -> None:
        self._arrived.append(reply)
        self.news.set()

    def outcome(self) -> Outcome | None:
        """Return what came of the request, or None if that is not known yet."""
        while self._arrived:
            reply = self._arrived.popleft()
            if isinstance(reply, NoRespondersError):
                return Outcome("not_done", reason="The node that owns the shard is not connected.")
            if isinstance(reply, NatsError):
                return Outcome("unknown", reason=f"The connection to NATS is lost: {reply}.")
            try:
                part = wire.decode_part(reply.payload)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                return Outcome("unknown", reason=f"The response of the node cannot be read: {error}.")
            if part.number != len(self._body):
                return Outcome("unknown", reason="A part of the response was lost.")
            self._body.append(part.body)
            if part.verdict != "more":
                response = Response(part.status, part.headers, self._body) if part.status else None
                return Outcome(part.verdict, response, f"The node answered {part.status or 'that it lost the shard'}.")
        return None


class Forwarder:
    """Passes requests on to other nodes.

    A request that is given up is cancelled at its owner. If the connection is lost, only its next try does that.

    ``wait_s`` is the longest time that a request may ask its broker to wait.

    Threads: any number may call any method. A fiber that waits blocks no thread.
    """

    def __init__(
        self,
        connection: Connection,
        prefix: str,
        shards: Shards,
        *,
        wait_s: float,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._shards = shards
        self._longest_s = wait_s + answer_s
        self._pending: dict[int, set[_Pending]] = {}
        self._is_ending = False
        self.outcomes: Counter[tuple[int, str]] = Counter()
        """Number of requests by their shard and what came of them: a verdict of `Outcome`, or ``gone`` if the client
        has disconnected."""
        self.stop = shards.changed(self._tell)
        """Ends the calls of ``shards``."""

    def _tell(self, shard: int) -> None:
        for each in list(self._pending.get(shard, ())):
            each.owner_was_lost = each.owner_was_lost or self._shards.owner(shard) is None
            each.news.set()

    def stop_waiting(self) -> None:
        """Let the owners answer the polls that wait, because this process is about to end."""
        self._is_ending = True
        for each in list(self._pending.values()):
            for pending in list(each):
                pending.news.set()

    @property
    def waiting(self) -> int:
        """Number of requests that wait for another node."""
        return sum(map(len, list(self._pending.values())))

    def send(self, owner: str, request: ForwardedRequest, client_gone: Callable[[], bool]) -> Outcome:
        """Pass a request on to a node, for the process with the request's token, and return what came of it.

        If the client disconnects meanwhile, the node is told, and the outcome does not matter.
        """
        outcome = self._send(owner, request, client_gone)
        if outcome.verdict == "unknown":  # a poll that still waits there would claim messages for nobody
            self._cancel(owner, request)
        self.outcomes[request.shard, "gone" if outcome is _GONE else outcome.verdict] += 1
        return outcome

    def _send(self, owner: str, request: ForwardedRequest, client_gone: Callable[[], bool]) -> Outcome:
        request.deadline_ms = self._shards.time_ms(owner) + round(self._longest_s * 1000)
        pending = _Pending()
        waiting = self._pending.setdefault(request.shard, set())
        waiting.add(pending)
        end = _nothing
        try:
            subject = wire.node_subject(self._prefix, owner, "requests")
            end = self._connection.ask(subject, wire.encode(request), pending.arrive)
            return self._wait(owner, request, pending, client_gone)
        except (NatsUnreachableError, ClientClosedError, PayloadTooLargeError) as error:
            return Outcome("not_done", reason=f"The request could not be passed on: {error}.")
        except NatsError as error:
            return Outcome("unknown", reason=f"The connection to NATS is lost: {error}.")
        finally:
            end()
            waiting.discard(pending)

    def _wait(
        self, owner: str, request: ForwardedRequest, pending: _Pending, client_gone: Callable[[], bool]
    ) -> Outcome:
        process = Process(owner, request.token)
        began_s = now_s = time.monotonic()
        until_s = now_s + self._longest_s
        moved_s: float | None = None
        is_cancelled = False
        while now_s < until_s:
            outcome = pending.outcome()
            if outcome is not None:
                return outcome
            if client_gone():
                self._cancel(owner, request)
                return _GONE
            next_s = until_s
            if self._is_ending and not is_cancelled:
                next_s = began_s + _POLL_S
                if now_s >= next_s:
                    self._cancel(owner, request)
                    is_cancelled, next_s = True, until_s
            if moved_s is None and self._has_moved(process, request.shard, pending):
                moved_s = now_s
                until_s = min(until_s, now_s + (GRACE_S if self._shards.hears(process) else 0))
            pending.news.wait(min(next_s, until_s) - now_s)
            pending.news.clear()
            now_s = time.monotonic()
        if moved_s is not None:
            return pending.outcome() or Outcome("unknown", reason="Another node has taken the shard over.")
        return pending.outcome() or Outcome("unknown", reason="The node did not answer in time.")

    def _cancel(self, owner: str, request: ForwardedRequest) -> None:
        """Let the owner answer a request that waits for messages."""
        with suppress(NatsError):  # the request itself was sent, so this error tells nothing about its outcome
            self._connection.post(wire.node_subject(self._prefix, owner, "cancels"), request.id.encode())

    def _has_moved(self, owner: Process, shard: int, pending: _Pending) -> bool:
        """Return whether the shard was taken over since the request was sent, so that the response may never come."""
        present = self._shards.process(shard)
        return present is not None and (present != owner or pending.owner_was_lost)


def _nothing() -> None:
    pass
