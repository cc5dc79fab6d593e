"""Threads that run functions, and one event loop that runs coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

#: Seconds that interrupted coroutines have for their clean-up when the worker stops.
_CLEAN_UP_S = 1.0


async def no_clients() -> None:
    """Close nothing."""


class Threads:
    """Threads that run functions. One is started when a function finds none idle.

    They are daemons: a handler that hangs does not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def run(self, function: Callable[[], None]) -> None:
        """Run a function, which raises nothing, on a thread."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._started += 1
                name = f"wonderq-handler-{self._started}"
                threading.Thread(target=self._loop, name=name, daemon=True).start()
        self._work.put(function)

    def close(self) -> None:
        """End each thread once its function has returned."""
        for _ in range(self._started):
            self._work.put(None)

    def _loop(self) -> None:
        while (function := self._work.get()) is not None:
            function()
            with self._lock:
                self._idle += 1


class EventLoop:
    """An asyncio event loop on a thread of its own, which the first coroutine starts."""

    def __init__(self, close_clients: Callable[[], Awaitable[None]]) -> None:
        """``close_clients`` is awaited before the loop ends."""
        self._close_clients = close_clients
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a function called in the loop's thread. Calls keep their order. A loop that has ended calls nothing."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="wonderq-asyncio", daemon=True)
                self._thread.start()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Stop the loop. Coroutines that were cancelled have `_CLEAN_UP_S` for their clean-up."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._clean_up(), loop).result(2 * _CLEAN_UP_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CLEAN_UP_S)  # a coroutine that blocks the loop does not hold up the end

    async def _clean_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_CLEAN_UP_S)
        await self._close_clients()
        await asyncio.get_running_loop().shutdown_asyncgens()


class Places:
    """Where the handlers of a worker run: functions on threads, coroutines on one event loop."""

    def __init__(self, close_clients: Callable[[], Awaitable[None]]) -> None:
        self.threads = Threads()
        self.loop = EventLoop(close_clients)

    def close(self) -> None:
        """End the threads and the event loop."""
        self.threads.close()
        self.loop.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
