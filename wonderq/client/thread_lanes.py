"""Batching for threads: one of the calling threads sends for all that wait, so no thread works in the background."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from wonderq.client.errors import Unreachable
from wonderq.client.operations import Batcher, Operation


class _Turn:
    """A thread that waits for its operation, or to send for the others.

    It waits at a bare lock: an Event, which is made of several Python objects, took a fifth of the time of a send.
    """

    __slots__ = ("_gate", "leads", "operation")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.leads = False
        """Whether the thread is to send for the others."""
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Wait until `wake` is called; return whether it was in time."""
        return self._gate.acquire(timeout=timeout_s)

    def wake(self) -> None:
        """End the wait. This is called once."""
        self._gate.release()


class ThreadLane:
    """Carries out the operations of one batcher, one request at a time.

    The first thread that finds no request under way sends what waits, its own operation among it. Once that is
    answered, the lane passes to a thread whose operation still waits. So no thread sends more than one request.

    The threads whose operations are done wake each other, one after the other. If the sender woke all of them, they
    would wait a second time, for the interpreter's lock, and a send would take a third more CPU time.
    """

    def __init__(self, batcher: Batcher, carry_out: Callable[[Batcher, Sequence[Operation]], None]) -> None:
        self._batcher = batcher
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._turns: dict[Operation, _Turn] = {}
        self._done: deque[_Turn] = deque()
        """Turns to wake. A thread whose wait ends wakes the next one, however its wait ended, unless it leads."""
        self._is_busy = False

    @property
    def load(self) -> int:
        """Number of operations that wait or are under way."""
        return len(self._turns)

    def run(self, operation: Operation, timeout_s: float) -> Any:
        """Carry out an operation, and return its result or raise its error.

        Raises:
            Unreachable: the operations of others took longer than ``timeout_s``.
        """
        turn = _Turn(operation)
        with self._lock:
            self._batcher.add(operation)
            self._turns[operation] = turn
            turn.leads = not self._is_busy
            self._is_busy = True
        if not turn.leads:
            try:
                if not turn.wait(timeout_s):
                    self._give_up(turn, timeout_s)
            except BaseException:
                self._abandon(turn)
                raise
            finally:
                if not turn.leads:
                    self._wake_next()
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
            for operation in taken:
                turn = self._turns.pop(operation, None)
                if turn is not None and not turn.leads:
                    self._done.append(turn)
            self._pass_on()
        self._wake_next()

    def _wake_next(self) -> None:
        try:
            turn = self._done.popleft()
        except IndexError:
            return
        turn.wake()

    def _pass_on(self) -> None:
        """Let the thread of the oldest waiting operation send next, under the lock."""
        self._is_busy = False
        for turn in self._turns.values():  # in the order of arrival
            self._is_busy = turn.leads = True
            turn.wake()
            return

    def _give_up(self, turn: _Turn, timeout_s: float) -> None:
        """Take an operation back that waited too long, unless it was its turn just now, or it is done.

        Raises:
            Unreachable: it waited too long. The outcome is unknown if it is part of a request that is under way.
        """
        with self._lock:
            if turn.leads or turn.operation not in self._turns:
                return
            del self._turns[turn.operation]
            withdrawn = self._batcher.withdraw(turn.operation)
        raise Unreachable(f"no answer came within {timeout_s:g} s", outcome_unknown=not withdrawn)

    def _abandon(self, turn: _Turn) -> None:
        """Forget a thread that waits no longer, also if it was interrupted. Its operation may still be carried out."""
        with self._lock:
            self._turns.pop(turn.operation, None)
            if turn.leads and not turn.operation.done:
                self._pass_on()
