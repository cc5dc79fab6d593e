"""Carries out calls for the tasks of an event loop: connections, repetitions, and requests that calls share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from wonderq.client.async_lanes import TaskLane
from wonderq.client.calls import PAGE, Call, N
from wonderq.client.claims import Finish, Finished, give_back
from wonderq.client.engine_options import EngineOptions
from wonderq.client.errors import ClientClosedError, NotFound, Refused, StaleReceipt, WonderQError
from wonderq.client.http_asyncio import AsyncHttpPools
from wonderq.client.lanes import Lanes
from wonderq.client.operations import Batcher, Kind, Operation, carry_out
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer
from wonderq.client.retries import Pause, Steps
from wonderq.client.room import Room

T = TypeVar("T")


class _Calls:
    """The calls of one event loop that are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._polls: set[Poll] = set()
        self._has_ended = asyncio.Event()

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        self._has_ended.set()

    @contextmanager
    def interruptible(self, call: Call[Any], poll: Poll | None) -> Iterator[Poll | None]:
        """Give a call that waits for messages a poll if it has none: the end of the client does not wait as long."""
        if call.at_cancel is None or not call.request.waits:
            yield poll
            return
        poll = poll or Poll()
        self._polls.add(poll)
        try:
            yield poll
        finally:
            self._polls.discard(poll)

    async def finish(self) -> None:
        """Wait for the ends of all, and end waits for messages now."""
        for poll in list(self._polls):
            poll.cancel()
        while self._count:
            self._has_ended.clear()
            await self._has_ended.wait()


class AsyncEngine:
    """Carries out the calls of one client. Its connections belong to the event loop that runs at its first call.

    In another loop, such as a second `asyncio.run` or one in a forked child, it starts anew.
    """

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._http: AsyncHttpPools
        self._lanes = self._no_lanes()
        self._giving_back: set[asyncio.Task[None]] = set()
        self._room = Room(options.buffer_bytes)
        self._calls = _Calls()
        self.holders: set[Callable[[str], None]] = set()
        """Called with the receipts of claims that calls have ended, or have found ended."""

    def ended(self, receipts: Sequence[str], errors: Sequence[Refused | None]) -> None:
        """Note the outcomes of calls that end claims."""
        for receipt, error in zip(receipts, errors, strict=True):
            if error is None or isinstance(error, NotFound | StaleReceipt):
                for ended in self.holders:
                    ended(receipt)

    def finished(self, finish: Finish, results: Finished) -> None:
        """Note the outcomes of a `next`."""
        self.ended(finish.delete, results.delete)
        self.ended([each["receipt"] for each in finish.release], results.release)
        self.ended([each["receipt"] for each in finish.dead], results.dead)

    async def close(self) -> None:
        """Wait for the calls under way and the requests that give back messages, and close the connections."""
        self._is_closed = True
        if self._loop is asyncio.get_running_loop():
            await self._calls.finish()
            if self._giving_back:
                await asyncio.wait(self._giving_back)
            for lane in self._lanes:
                await lane.close()
            await self._http.close()
        elif self._loop is not None:
            await self._http.abandon()

    def _no_lanes(self) -> Lanes[TaskLane]:
        return Lanes(lambda batcher: TaskLane(batcher, self._carry_out), self.options.connections)

    async def _start(self) -> None:
        """Start, or start anew in another event loop.

        Raises:
            ClientClosedError: the client is closed.
        """
        if self._is_closed:
            raise ClientClosedError
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            options = self.options
            abandoned = None if self._loop is None else self._http
            self._http = AsyncHttpPools(options.endpoints, options.connections, options.connect_timeout_s)
            self._lanes = self._no_lanes()
            self._giving_back = set()
            self._room = Room(options.buffer_bytes)
            self._calls = _Calls()
            self._loop = loop
            if abandoned is not None:  # last: meanwhile other tasks make their first calls
                await abandoned.abandon()

    async def do(self, call: Call[T], poll: Poll | None = None) -> T:
        """Make a call. If its poll is cancelled, ask for what the broker had already given.

        If the task is cancelled, messages that the broker had given are given back, in the background.
        """
        await self._start()
        calls = self._calls
        calls.begin()
        try:
            with calls.interruptible(call, poll) as poll:
                answer = await self._answer(call, poll)
            return call.read(answer)
        except asyncio.CancelledError:
            if call.messages is not None:
                giving_back = asyncio.create_task(self._give_back(call), name="wonderq-give-back")
                self._giving_back.add(giving_back)
                giving_back.add_done_callback(self._giving_back.discard)
            raise
        finally:
            calls.end()

    async def list_all(self, page: Callable[[str], Call[list[N]]]) -> list[N]:
        """Return a listing by name. ``page`` returns the call for the page after a name; empty for the first one."""
        found: list[N] = []
        while True:
            more = await self.do(page(found[-1].name if found else ""))
            found += more
            if len(more) < PAGE:
                return found

    async def _answer(self, call: Call[Any], poll: Poll | None) -> Answer:
        retries = self.options.retries
        if poll is None or call.at_cancel is None:
            return await self._drive(retries.attempt(call.request))
        if poll.is_cancelled:
            return await self._drive(retries.attempt(call.at_cancel))
        retries = retries.for_one_call(call.request.wait_s)
        try:
            return await self._drive(retries.attempt(call.request), poll)
        except PollCancelled:
            return await self._drive(retries.repeat(call.at_cancel))

    async def _give_back(self, call: Call[Any]) -> None:
        with suppress(WonderQError, RuntimeError):
            await self._drive(give_back(call, self.options.retries))

    async def run(self, queue: str, kind: Kind, operation: Operation) -> Any:
        """Carry out one operation, together with those of other tasks."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._is_closed:
            await self._start()
        lane = self._lanes.of(queue, kind)
        room, calls = self._room, self._calls
        deadline = loop.time() + self.options.retries.total_s
        calls.begin()
        try:
            if not room.enter(operation.size):
                await self._wait_for_room(room, operation.size)
            try:
                return await lane.run(operation, max(deadline - loop.time(), 0))
            finally:
                room.leave(operation.size)
        finally:
            calls.end()

    async def _wait_for_room(self, room: Room, size: int) -> None:
        """Wait until there is room for a call.

        Raises:
            Unreachable: there was none within the total time of a call.
        """
        admitted = asyncio.Event()
        admit = admitted.set
        room.wait(size, admit)
        try:
            async with asyncio.timeout(self.options.retries.total_s):
                await admitted.wait()
        except TimeoutError:
            room.give_up(size, admit)
            raise self.options.buffer_full() from None
        except BaseException:
            room.give_up(size, admit)
            raise

    async def _carry_out(self, batcher: Batcher, operations: Sequence[Operation]) -> None:
        await self._drive(carry_out(batcher, operations, self.options.retries))

    async def _drive(self, steps: Steps[T], poll: Poll | None = None) -> T:
        """Do what a generator of requests and pauses asks for; return what it returns."""
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                await _pause(step.seconds, poll)
                outcome = None
            else:
                outcome = await self._http.exchange(step, poll)


async def _pause(seconds: float, poll: Poll | None) -> None:
    if poll is None:
        await asyncio.sleep(seconds)
        return
    loop, cancelled = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(cancelled.set)

    with poll.interrupted_by(wake):
        try:
            async with asyncio.timeout(seconds):
                await cancelled.wait()
        except TimeoutError:
            return
    raise PollCancelled
