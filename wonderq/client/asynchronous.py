"""The client for asyncio. Its calls are those of `wonderq.client.sync`, as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import msgspec

from wonderq.client import calls
from wonderq.client.bodies import Body
from wonderq.client.calls import Call, QueueInfo
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import Refused, WonderQError
from wonderq.client.fields import MessageOptions, QueueSettings
from wonderq.client.http_asyncio import AsyncHttpPool
from wonderq.client.messages import Contents, Sent
from wonderq.client.operations import DELETES, SENDS, SENDS_TOGETHER, UPDATES, Batcher, Kind, Operation, carry_out
from wonderq.client.requests import Answer, Failure, Request, read_answer
from wonderq.client.retries import Pause, Retries

T = TypeVar("T")


class AsyncClient:
    """A client of one broker for the tasks of one event loop. It has the calls of `wonderq.Client`."""

    def __init__(self, url: str | None = None, *, key: str | None = None, retries: int = 5, pool: int = 100) -> None:
        """Make a client; the first call connects. The arguments are those of `wonderq.Client`.

        Raises:
            ValueError: the URL or the key is malformed.
        """
        self._endpoint = Endpoint.of(url, key)
        self._retries = Retries(retries)
        self._connections = pool
        self._http: AsyncHttpPool | None = None
        self._lanes: dict[tuple[str, Kind], _TaskLane] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """Address of the broker."""
        return self._endpoint.url

    async def close(self) -> None:
        """Wait for the requests of batches that are under way, and close the connections."""
        for lane in self._lanes.values():
            await lane.close()
        if self._http is not None:
            await self._http.close()

    def queue(self, name: str = "default") -> AsyncQueue:
        """Return a queue by its name. This asks the broker nothing."""
        return AsyncQueue(self, name)

    async def queues(self) -> list[QueueInfo]:
        """Return settings and statistics of all queues that the key opens."""
        return await self.call("GET", "/queues", list[QueueInfo])

    async def call(
        self, method: str, target: str, answer: type[T], body: Any = None, *, wait: float = 0, repeatable: bool = True
    ) -> T:
        """Make any call of the HTTP API, and return its answer decoded as a type; see `wonderq.Client.call`."""
        data = None if body is None else msgspec.json.encode(body)
        return await self.do(Call(Request(method, target, data, wait, repeatable), answer))

    async def do(self, call: Call[T]) -> T:
        """Make a call."""
        return read_answer(await self._drive(self._retries.attempt(call.request)), call.answer)

    async def run(self, queue: str, kind: Kind, operation: Operation) -> Any:
        """Carry out one operation, together with those of other tasks."""
        lane = self._lanes.get((queue, kind))
        if lane is None:
            lane = self._lanes[queue, kind] = _TaskLane(self, Batcher(queue, kind))
        return await lane.run(operation)

    async def carry_out(self, batcher: Batcher, operations: Sequence[Operation]) -> None:
        """Carry out operations of a batcher."""
        await self._drive(carry_out(batcher, operations, self._retries))

    async def _drive(self, steps: Generator[Request | Pause, Answer | Failure | None, T]) -> T:
        """Do what a generator of requests and pauses asks for; return what it returns."""
        if self._http is None:
            self._http = AsyncHttpPool(self._endpoint, self._connections)  # here, since it belongs to the running loop
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._http.exchange(step)


class _TaskLane:
    """Carries out the operations of one batcher, one request at a time, in a task that ends when nothing waits.

    A task of its own sends the requests: cancelling one caller must not cancel the calls of the others.
    """

    def __init__(self, client: AsyncClient, batcher: Batcher) -> None:
        self._client = client
        self._batcher = batcher
        self._waiting: dict[Operation, asyncio.Future[None]] = {}
        self._sender: asyncio.Task[None] | None = None

    async def run(self, operation: Operation) -> Any:
        """Carry out an operation, and return its result or raise its error."""
        done = self._waiting[operation] = asyncio.get_running_loop().create_future()
        self._batcher.add(operation)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        await done
        if operation.error is not None:
            raise operation.error
        return operation.result

    async def close(self) -> None:
        """Wait until nothing waits."""
        if self._sender is not None:
            await self._sender

    async def _send(self) -> None:
        try:
            while len(self._batcher):
                taken = self._batcher.take()
                try:
                    await self._client.carry_out(self._batcher, taken)
                finally:
                    for operation in taken:
                        self._finish(operation)
        finally:
            self._sender = None

    def _finish(self, operation: Operation) -> None:
        if not operation.done:
            operation.fail(RuntimeError("the event loop ended before the broker answered"))
        future = self._waiting.pop(operation)
        if not future.done():
            future.set_result(None)


class AsyncMessage(Contents, frozen=True, kw_only=True):
    """A message that was received. It is yours until ``claimed_until``. See `wonderq.Message`."""

    bound_client: Any = None
    """The client that received the message."""

    async def delete(self) -> None:
        """Delete the message: its work is done.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        await self._run(DELETES, calls.delete(self.claim_receipt))

    async def renew(self, lease: float | None = None) -> None:
        """Keep the message for ``lease`` seconds from now; by default for as long as the claim was made.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        await self._run(UPDATES, calls.renew(self.claim_receipt, lease))

    async def release(self, delay: float = 0) -> None:
        """Give the message back. Others may receive it after ``delay`` seconds."""
        await self._run(UPDATES, calls.release(self.claim_receipt, delay))

    async def bury(self) -> None:
        """Set the message aside until it is kicked."""
        await self._run(UPDATES, calls.bury(self.claim_receipt))

    async def _run(self, kind: Kind, operation: Operation) -> None:
        client: AsyncClient = self.bound_client
        await client.run(self.queue, kind, operation)


class AsyncQueue:
    """One queue of a broker. See `wonderq.Queue`, whose calls it has as coroutines."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<AsyncQueue {self.name!r} at {self.client.url}>"

    # Messages

    async def send(self, body: Body, **options: Unpack[MessageOptions]) -> Sent:
        """Send a message, and return once it is durable; see `wonderq.Queue.send`."""
        sent: Sent = await self.client.run(self.name, SENDS, calls.send(body, options))
        return sent

    async def send_together(self, messages: Sequence[Body | tuple[Body, MessageOptions]]) -> list[Sent]:
        """Send up to 1000 messages in one step: all are added, or none; see `wonderq.Queue.send_together`."""
        sent: list[Sent] = await self.client.run(self.name, SENDS_TOGETHER, calls.send_together(messages))
        return sent

    async def receive(self, limit: int = 10, *, wait: float = 0, lease: float | None = None) -> list[AsyncMessage]:
        """Receive up to ``limit`` messages; see `wonderq.Queue.receive`."""
        messages = await self.client.do(calls.receive(self.name, AsyncMessage, limit, wait, lease))
        for message in messages:
            msgspec.structs.force_setattr(message, "bound_client", self.client)
        return messages

    @asynccontextmanager
    async def one(self, *, wait: float = 0, lease: float = 30) -> AsyncIterator[AsyncMessage | None]:
        """Receive one message, or None, and work on it in an ``async with`` block; see `wonderq.Queue.one`."""
        messages = await self.receive(1, wait=wait, lease=lease)
        if not messages:
            yield None
            return
        message = messages[0]
        renewals = asyncio.create_task(_renew(message, lease))
        try:
            yield message
        except BaseException:
            renewals.cancel()
            with suppress(WonderQError):  # the claim ends by itself, and the block's exception says more
                await message.release()
            raise
        finally:
            renewals.cancel()
        await message.delete()

    async def look(
        self,
        *,
        status: str | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[Contents]:
        """Yield messages without receiving them, the oldest first; see `wonderq.Queue.look`."""
        filters = {"contains": contains, "attribute": attribute, "group": group}
        while True:
            found = await self.client.do(calls.look(self.name, status, after, filters))
            for each in found:
                yield each
            if len(found) < calls.PAGE:
                return
            after = found[-1].id

    async def get(self, message_id: str) -> Contents:
        """Look at one message.

        Raises:
            NotFound: the queue has no message with this id.
        """
        return await self.client.do(calls.get(self.name, message_id))

    async def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, the oldest first; return their number."""
        return (await self.client.do(calls.kick(self.name, limit))).kicked

    # The queue itself

    async def info(self) -> QueueInfo:
        """Return settings and statistics.

        Raises:
            NotFound: the queue does not exist.
        """
        return await self.client.do(calls.info(self.name))

    async def configure(self, **settings: Unpack[QueueSettings]) -> QueueInfo:
        """Create the queue, or change the given settings and keep the others."""
        return await self.client.do(calls.configure(self.name, settings))

    async def purge(self) -> int:
        """Delete all messages, also those that consumers hold; return their number."""
        return (await self.client.do(calls.purge(self.name))).deleted

    async def drop(self) -> None:
        """Delete the queue and its messages."""
        await self.client.do(calls.drop(self.name))


async def _renew(message: AsyncMessage, lease: float) -> None:
    """Renew a claim at a third of its time, until the task is cancelled or the claim has ended."""
    while True:
        await asyncio.sleep(lease / 3)
        try:
            await message.renew(lease)
        except Refused:
            return  # the delete at the end says so
        except WonderQError:
            continue
