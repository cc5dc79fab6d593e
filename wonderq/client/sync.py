"""The client for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import msgspec

from wonderq.client import calls
from wonderq.client.bodies import Body
from wonderq.client.calls import Call, QueueInfo
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import Refused, WonderQError
from wonderq.client.fields import MessageOptions, QueueSettings
from wonderq.client.http_threads import HttpPool
from wonderq.client.lanes import ThreadLane
from wonderq.client.messages import Contents, Sent
from wonderq.client.operations import DELETES, SENDS, SENDS_TOGETHER, UPDATES, Batcher, Kind, Operation, carry_out
from wonderq.client.requests import Answer, Failure, Request, read_answer
from wonderq.client.retries import Pause, Retries

T = TypeVar("T")


class Client:
    """A client of one broker. Any number of threads may share it.

    Calls of several threads share requests: while one is under way, the sends, deletes and renewals of all other
    threads gather, and go together in the next one. Each call returns once its own message is durable, or raises the
    error of its own message. All errors are a `WonderQError`.
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, retries: int = 5, pool: int = 8) -> None:
        """Make a client; the first call connects.

        Args:
            url: ``http://HOST:PORT``; default: ``WONDERQ_URL``, or else http://127.0.0.1:7979.
            key: API key; default: ``WONDERQ_KEY``.
            retries: repetitions of a request that was not answered, or that the broker asks to repeat later.
            pool: most connections. A thread that receives with ``wait`` occupies one.

        Raises:
            ValueError: the URL or the key is malformed.
        """
        self._endpoint = Endpoint.of(url, key)
        self._retries = Retries(retries)
        self._http = HttpPool(self._endpoint, pool)
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, Kind], ThreadLane] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address of the broker."""
        return self._endpoint.url

    def close(self) -> None:
        """Close the connections. Calls under way finish."""
        self._http.close()

    def queue(self, name: str = "default") -> Queue:
        """Return a queue by its name. This asks the broker nothing."""
        return Queue(self, name)

    def queues(self) -> list[QueueInfo]:
        """Return settings and statistics of all queues that the key opens."""
        return self.call("GET", "/queues", list[QueueInfo])

    def call(
        self, method: str, target: str, answer: type[T], body: Any = None, *, wait: float = 0, repeatable: bool = True
    ) -> T:
        """Make any call of the HTTP API, and return its answer decoded as a type.

        ``wait`` is the time in seconds that the call asks the broker to wait. ``repeatable`` says that the call may be
        sent again if its outcome is unknown.
        """
        data = None if body is None else msgspec.json.encode(body)
        return self.do(Call(Request(method, target, data, wait, repeatable), answer))

    def do(self, call: Call[T]) -> T:
        """Make a call."""
        return read_answer(self._drive(self._retries.attempt(call.request)), call.answer)

    def _drive(self, steps: Generator[Request | Pause, Answer | Failure | None, T]) -> T:
        """Do what a generator of requests and pauses asks for; return what it returns."""
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._http.exchange(step)

    def run(self, queue: str, kind: Kind, operation: Operation) -> Any:
        """Carry out one operation, together with those of other threads."""
        lane = self._lanes.get((queue, kind))
        if lane is None:
            with self._lock:
                lane = self._lanes.setdefault((queue, kind), ThreadLane(Batcher(queue, kind), self._carry_out))
        return lane.run(operation)

    def _carry_out(self, batcher: Batcher, operations: Sequence[Operation]) -> None:
        self._drive(carry_out(batcher, operations, self._retries))


class Message(Contents, frozen=True, kw_only=True):
    """A message that was received. It is yours until ``claimed_until``."""

    bound_client: Any = None
    """The client that received the message."""

    def delete(self) -> None:
        """Delete the message: its work is done.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(DELETES, calls.delete(self.claim_receipt))

    def renew(self, lease: float | None = None) -> None:
        """Keep the message for ``lease`` seconds from now; by default for as long as the claim was made.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(UPDATES, calls.renew(self.claim_receipt, lease))

    def release(self, delay: float = 0) -> None:
        """Give the message back. Others may receive it after ``delay`` seconds."""
        self._run(UPDATES, calls.release(self.claim_receipt, delay))

    def bury(self) -> None:
        """Set the message aside until it is kicked."""
        self._run(UPDATES, calls.bury(self.claim_receipt))

    def _run(self, kind: Kind, operation: Operation) -> None:
        client: Client = self.bound_client
        client.run(self.queue, kind, operation)


class Queue:
    """One queue of a broker. Any number of threads may share it."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} at {self.client.url}>"

    # Messages

    def send(self, body: Body, **options: Unpack[MessageOptions]) -> Sent:
        """Send a message, and return once it is durable.

        Args:
            body: ``str``, ``bytes``, or anything that JSON can express.
            **options: `MessageOptions`, such as ``delay=60`` or ``key="order-17"``.

        Raises:
            QueueFull: the queue has no room.
            Invalid: an option is out of range, or the message is too large.
            Unreachable: no answer came; ``outcome_unknown`` says whether the message may have been added.
        """
        sent: Sent = self.client.run(self.name, SENDS, calls.send(body, options))
        return sent

    def send_together(self, messages: Sequence[Body | tuple[Body, MessageOptions]]) -> list[Sent]:
        """Send up to 1000 messages in one step: all are added, or none. Returns a result for each, in order.

        Each is a body, or a pair of a body and its options.
        """
        sent: list[Sent] = self.client.run(self.name, SENDS_TOGETHER, calls.send_together(messages))
        return sent

    def receive(self, limit: int = 10, *, wait: float = 0, lease: float | None = None) -> list[Message]:
        """Receive up to ``limit`` messages, the oldest first; wait up to ``wait`` seconds for the first one.

        The messages are yours for ``lease`` seconds, by default the queue's ``visibility_timeout``. Delete each one
        when its work is done, or others receive it after that time.
        """
        messages = self.client.do(calls.receive(self.name, Message, limit, wait, lease))
        for message in messages:
            msgspec.structs.force_setattr(message, "bound_client", self.client)
        return messages

    @contextmanager
    def one(self, *, wait: float = 0, lease: float = 30) -> Iterator[Message | None]:
        """Receive one message, or None if there is none within ``wait`` seconds, and work on it in a ``with`` block.

        The claim is renewed while the block runs. At its end the message is deleted. If the block raises an exception,
        the message is given back.

        Raises:
            StaleReceipt: the block ended well, but the claim had ended before, and others may have the message.
        """
        messages = self.receive(1, wait=wait, lease=lease)
        if not messages:
            yield None
            return
        message = messages[0]
        try:
            with keep(message, lease):
                yield message
        except BaseException:
            with suppress(WonderQError):  # the claim ends by itself, and the block's exception says more
                message.release()
            raise
        message.delete()

    def look(
        self,
        *,
        status: str | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> Iterator[Contents]:
        """Yield messages without receiving them, the oldest first. Their state does not change.

        Args:
            status: only ``unprocessed``, ``processing``, ``delayed`` or ``buried`` ones.
            contains: only those whose text contains this.
            attribute: only those with this attribute: ``name`` or ``name=value``.
            group: only those of this group.
            after: only those that were sent after the message with this id.
        """
        filters = {"contains": contains, "attribute": attribute, "group": group}
        while True:
            found = self.client.do(calls.look(self.name, status, after, filters))
            yield from found
            if len(found) < calls.PAGE:
                return
            after = found[-1].id

    def get(self, message_id: str) -> Contents:
        """Look at one message.

        Raises:
            NotFound: the queue has no message with this id.
        """
        return self.client.do(calls.get(self.name, message_id))

    def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, the oldest first; return their number."""
        return self.client.do(calls.kick(self.name, limit)).kicked

    # The queue itself

    def info(self) -> QueueInfo:
        """Return settings and statistics.

        Raises:
            NotFound: the queue does not exist.
        """
        return self.client.do(calls.info(self.name))

    def configure(self, **settings: Unpack[QueueSettings]) -> QueueInfo:
        """Create the queue, or change the given settings and keep the others."""
        return self.client.do(calls.configure(self.name, settings))

    def purge(self) -> int:
        """Delete all messages, also those that consumers hold; return their number."""
        return self.client.do(calls.purge(self.name)).deleted

    def drop(self) -> None:
        """Delete the queue and its messages."""
        self.client.do(calls.drop(self.name))


@contextmanager
def keep(message: Message, lease: float) -> Iterator[None]:
    """Renew a message's claim from a thread of its own at a third of its time, until the block ends."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(lease / 3):
            try:
                message.renew(lease)
            except Refused:
                return  # the claim has ended; the delete at the end says so
            except WonderQError:
                continue

    thread = threading.Thread(target=renew, name="wonderq-renew", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
