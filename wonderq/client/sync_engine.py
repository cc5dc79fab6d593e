"""Carries out calls for threads: connections, repetitions, and requests that calls share."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from wonderq.client.calls import PAGE, Call, N
from wonderq.client.claims import give_back
from wonderq.client.engine_options import EngineOptions
from wonderq.client.errors import WonderQError
from wonderq.client.gate import Gate
from wonderq.client.http_threads import HttpPools
from wonderq.client.lanes import Lanes
from wonderq.client.operations import Batcher, Kind, Operation, carry_out
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer
from wonderq.client.retries import Pause, Steps
from wonderq.client.room import Room
from wonderq.client.thread_lanes import ThreadLane

T = TypeVar("T")


class Engine:
    """Carries out the calls of one client. Any number of threads may share it.

    After a fork, the child starts anew: it has connections of its own, and another number as a producer.
    """

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self._start()
        _engines.add(self)

    def _start(self) -> None:
        options = self.options
        self._http = HttpPools(options.endpoints, options.connections, options.connect_timeout_s)
        self._lock = threading.Lock()
        self._lanes = Lanes(lambda batcher: ThreadLane(batcher, self._carry_out), options.connections)
        self._room = Room(options.buffer_bytes)

    def close(self) -> None:
        """Close the connections. Calls under way finish; further ones raise `ClientClosedError`."""
        self._http.close()

    def do(self, call: Call[T], poll: Poll | None = None) -> T:
        """Make a call. If its poll is cancelled, ask for what the broker had already given.

        If something else interrupts the thread, such as Ctrl-C, messages that the broker had given are given back.
        """
        try:
            return call.read(self._answer(call, poll))
        except WonderQError:
            raise
        except BaseException:
            with suppress(WonderQError, RuntimeError):
                self._drive(give_back(call, self.options.retries))
            raise

    def list_all(self, page: Callable[[str], Call[list[N]]]) -> list[N]:
        """Return a listing by name. ``page`` returns the call for the page after a name; empty for the first one."""
        found: list[N] = []
        while True:
            more = self.do(page(found[-1].name if found else ""))
            found += more
            if len(more) < PAGE:
                return found

    def _answer(self, call: Call[Any], poll: Poll | None) -> Answer:
        retries = self.options.retries
        if poll is None or call.at_cancel is None:
            return self._drive(retries.attempt(call.request))
        if poll.is_cancelled:
            return self._drive(retries.attempt(call.at_cancel))
        retries = retries.for_one_call(call.request.wait_s)
        try:
            return self._drive(retries.attempt(call.request), poll)
        except PollCancelled:
            return self._drive(retries.repeat(call.at_cancel))

    def run(self, queue: str, kind: Kind, operation: Operation) -> Any:
        """Carry out one operation, together with those of other threads."""
        lane = self._lanes.of(queue, kind)
        deadline = time.monotonic() + self.options.retries.total_s
        self._enter(operation.size)
        try:
            return lane.run(operation, max(deadline - time.monotonic(), 0))
        finally:
            with self._lock:
                self._room.leave(operation.size)

    def _enter(self, size: int) -> None:
        """Wait until there is room for a call.

        Raises:
            Unreachable: there was none within the total time of a call.
        """
        with self._lock:
            if self._room.enter(size):
                return
            gate = Gate()
            admit = gate.open
            self._room.wait(size, admit)
        try:
            in_time = gate.wait(self.options.retries.total_s)
        except BaseException:
            with self._lock:
                self._room.give_up(size, admit)
            raise
        if not in_time:
            with self._lock:
                self._room.give_up(size, admit)
            raise self.options.buffer_full()

    def _carry_out(self, batcher: Batcher, operations: Sequence[Operation], ends_s: float) -> None:
        self._drive(carry_out(batcher, operations, self.options.retries.until(ends_s)))

    def _drive(self, steps: Steps[T], poll: Poll | None = None) -> T:
        """Do what a generator of requests and pauses asks for; return what it returns."""
        outcome: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                _pause(step.seconds, poll)
                outcome = None
            else:
                outcome = self._http.exchange(step, poll)


def _pause(seconds: float, poll: Poll | None) -> None:
    if poll is None:
        time.sleep(seconds)
        return
    gate = Gate()
    with poll.interrupted_by(gate.open):
        gate.wait(seconds)
        if poll.is_cancelled:
            raise PollCancelled


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _start_anew() -> None:
    """Give the engines of a forked child connections, locks and producers of their own.

    The sockets are still the parent's too, and the threads that held the locks are gone.
    """
    for engine in list(_engines):
        engine._start()  # noqa: SLF001


os.register_at_fork(after_in_child=_start_anew)
