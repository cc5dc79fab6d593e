"""Batching for threads: one of the calling threads sends for all that wait, so no thread works in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from wonderq.client.errors import Unreachable
from wonderq.client.operations import Batcher, Operation


class _Turn:
    """A thread that waits for its operation, or to send for the others.

    It waits at a bare lock: an Event, which is made of several Python objects, took a fifth of the time of a send.
    """

    __slots__ = ("_gate", "is_over", "operation")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.is_over = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Wait until `end` is called; return whether it was in time."""
        return self._gate.acquire(timeout=timeout_s)

    def end(self) -> None:
        """End the wait. One thread at a time does this."""
        if not self.is_over:
            self.is_over = True
            self._gate.release()


class ThreadLane:
    """Carries out the operations of one batcher, one request at a time.

    The first thread that finds no request under way sends what waits, its own operation among it. Once that is
    answered, the lane passes to a thread whose operation still waits. So no thread sends more than one request.
    """

    def __init__(self, batcher: Batcher, carry_out: Callable[[Batcher, Sequence[Operation]], None]) -> None:
        self._batcher = batcher
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._turns: dict[Operation, _Turn] = {}
        self._is_busy = False

    def run(self, operation: Operation, timeout_s: float) -> Any:
        """Carry out an operation, and return its result or raise its error.

        Raises:
            Unreachable: the operations of others took longer than ``timeout_s``.
        """
        turn = _Turn(operation)
        with self._lock:
            self._batcher.add(operation)
            self._turns[operation] = turn
            leads = not self._is_busy
            self._is_busy = True
        if not leads:
            try:
                in_time = turn.wait(timeout_s)
            except BaseException:
                self._abandon(turn)
                raise
            if not in_time:
                self._give_up(turn, timeout_s)
        if not operation.done:
            self._lead()
        if operation.error is not None:
            raise operation.error
        return operation.result

    def _lead(self) -> None:
        """Send the oldest operations, this thread's own among them, and pass the lane on."""
        with self._lock:
            taken = self._batcher.take()
        try:
            self._carry_out(self._batcher, taken)
        except BaseException:
            for operation in taken:
                if not operation.done:
                    operation.fail(RuntimeError("the thread that sent this call for others was interrupted"))
            raise
        finally:
            self._finish(taken)

    def _finish(self, taken: Sequence[Operation]) -> None:
        with self._lock:
            done = [self._turns.pop(operation, None) for operation in taken]
            self._pass_on()
        for turn in done:
            if turn is not None:
                turn.end()

    def _pass_on(self) -> None:
        """Let the thread of the oldest waiting operation send next, under the lock."""
        self._is_busy = False
        for turn in self._turns.values():  # in the order of arrival
            self._is_busy = True
            turn.end()
            return

    def _give_up(self, turn: _Turn, timeout_s: float) -> None:
        """Take an operation back that waited too long, unless it was its turn just now.

        Raises:
            Unreachable: it waited too long. The outcome is unknown if it is part of a request that is under way.
        """
        with self._lock:
            if turn.is_over:
                return
            del self._turns[turn.operation]
            withdrawn = self._batcher.withdraw(turn.operation)
        raise Unreachable(f"no answer came within {timeout_s:g} s", outcome_unknown=not withdrawn)

    def _abandon(self, turn: _Turn) -> None:
        """Forget a thread that was interrupted while it waited. Its operation may still be carried out."""
        with self._lock:
            self._turns.pop(turn.operation, None)
            if turn.is_over and not turn.operation.done:
                self._pass_on()
