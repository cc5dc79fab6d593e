"""The replies to a request, on their way from the thread that reads a connection to whoever sent the request."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from wonderq_storage.nats import protocol
from wonderq_storage.nats.errors import NatsError, NatsTimeoutError, NoRespondersError
from wonderq_storage.nats.headers import parse_headers

_NO_RESPONDERS = 503

#: Bytes of replies to one request that may wait for their reader.
_MAX_WAITING_BYTES = 64 << 20


class Reply(NamedTuple):
    """An answer to a request."""

    status: int
    """Status of the headers, or 0 without one."""
    description: str
    headers: dict[str, str]
    payload: bytes


class Replies(Protocol):
    """Takes the replies to one request from the thread that reads."""

    def put(self, delivery: protocol.Delivery) -> bool:
        """Take a reply; return False if no more are taken."""

    def fail(self, error: NatsError) -> None:
        """Take the reason why no more replies come."""


class QueuedReplies:
    """Replies that wait in a queue for the thread that asked."""

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[protocol.Delivery | NatsError] = queue.SimpleQueue()
        self.received_bytes = 0  # counted by the thread that reads
        self.taken_bytes = 0  # counted by the one that asked

    def put(self, delivery: protocol.Delivery) -> bool:
        """Hand a reply over; return False if the reader is too far behind."""
        self.received_bytes += len(delivery.payload)
        if self.received_bytes - self.taken_bytes > _MAX_WAITING_BYTES:
            self.arrived.put(NatsError("the replies to a request came faster than they were read"))
            return False
        self.arrived.put(delivery)
        return True

    def fail(self, error: NatsError) -> None:
        self.arrived.put(error)

    def take(self, deadline_s: float) -> Reply:
        """Wait for the next reply, and return it.

        Raises:
            NatsTimeoutError: none came in time.
            NatsError: no more replies come.
        """
        try:
            found = self.arrived.get(timeout=max(deadline_s - time.monotonic(), 0))
        except queue.Empty:
            raise NatsTimeoutError("NATS did not answer in time") from None
        if isinstance(found, NatsError):
            raise found
        self.taken_bytes += len(found.payload)
        return _reply_of(found)


def _reply_of(delivery: protocol.Delivery) -> Reply:
    """Return a reply.

    Raises:
        NoRespondersError: it is the server's own, because nobody received the request.
    """
    status, description, fields = parse_headers(delivery.headers)
    if status == _NO_RESPONDERS and not delivery.payload:
        raise NoRespondersError("no NATS server answers this request at present")
    return Reply(status, description, fields, delivery.payload)


def _outcome_of(delivery: protocol.Delivery) -> Reply | NatsError:
    """Return a reply, or why there is none."""
    try:
        return _reply_of(delivery)
    except NatsError as error:
        return error


class PassedReplies:
    """Passes each reply on at once, on the thread that reads."""

    def __init__(self, callback: Callable[[Reply | NatsError], None]) -> None:
        self._callback = callback

    def put(self, delivery: protocol.Delivery) -> bool:
        outcome = _outcome_of(delivery)
        self._callback(outcome)
        return isinstance(outcome, Reply)

    def fail(self, error: NatsError) -> None:
        self._callback(error)


class SingleReply:
    """Passes one reply on, or why there is none."""

    def __init__(self, callback: Callable[[Reply | NatsError], None], deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._callbacks = [callback]  # from which one of several threads takes it

    def put(self, delivery: protocol.Delivery) -> bool:
        self._pass(_outcome_of(delivery))
        return False

    def fail(self, error: NatsError) -> None:
        self._pass(error)

    def _pass(self, outcome: Reply | NatsError) -> None:
        callback = self._take()
        if callback is not None:
            callback(outcome)

    def cancel(self) -> bool:
        """Pass nothing on any more; return False if something was, or is just being passed on."""
        return self._take() is not None

    def _take(self) -> Callable[[Reply | NatsError], None] | None:
        try:
            return self._callbacks.pop()
        except IndexError:
            return None
