"""Batching for threads: one of the calling threads sends for all that wait, so no thread works in the background."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from wonderq.client.errors import ClientClosedError, Unreachable
from wonderq.client.gate import Gate
from wonderq.client.operations import Batcher, Operation


class ThreadLane:
    """Carries out the operations of one batcher, one request at a time.

    The first thread that finds no request under way leads: it sends what waits, until its own operation is done. Then
    the lane passes to the thread that came last. Its operation is mostly in the next request, and if that takes too
    long, it is the last one whose time is over: the time of the thread that leads ends the request for all.

    The threads whose operations are done wake each other, one after the other. If the sender woke all of them, they
    would wait a second time, for the interpreter's lock, and a send would take a third more CPU time.
    """

    def __init__(self, batcher: Batcher, carry_out: Callable[[Batcher, Sequence[Operation], float], None]) -> None:
        """``carry_out`` is given the time of `time.monotonic` at which it has to end."""
        self._batcher = batcher
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._turns: dict[Operation, Gate] = {}
        """Where the thread of each operation waits for its end, or to send for the others."""
        self._leader: Gate | None = None
        self._done: deque[Gate] = deque()
        """Turns to open. Each thread that leaves wakes the next one, however its wait ended."""

    @property
    def load(self) -> int:
        """Number of operations that wait or are under way."""
        return len(self._turns)

    def run(self, operation: Operation, timeout_s: float) -> Any:
        """Carry out an operation, and return its result or raise its error.

        Raises:
            Unreachable: the operations of others took longer than ``timeout_s``.
        """
        ends_s = time.monotonic() + timeout_s
        turn = Gate()
        try:
            with self._lock:
                self._batcher.add(operation)
                self._turns[operation] = turn
                leads = self._leader is None
                if leads:
                    self._leader = turn
            if not leads and not turn.wait(timeout_s):
                self._give_up(operation, turn, timeout_s)
            while not operation.done:
                if time.monotonic() >= ends_s:
                    raise _too_late(timeout_s, outcome_unknown=False)
                self._send(ends_s)
        finally:
            self._leave(operation, turn)
        if operation.error is not None:
            raise operation.error
        return operation.result

    def _send(self, ends_s: float) -> None:
        """Send the oldest operations."""
        taken: Sequence[Operation] = ()
        try:
            with self._lock:
                taken = self._batcher.take()
            self._carry_out(self._batcher, taken, ends_s)
        except BaseException as error:
            for operation in taken:
                if not operation.done:
                    operation.fail(error if isinstance(error, ClientClosedError) else _interrupted())
            raise
        finally:
            with self._lock:
                for operation in taken:
                    turn = self._turns.pop(operation, None)
                    if turn is not None and turn is not self._leader:
                        self._done.append(turn)
            self._wake_next()

    def _wake_next(self) -> None:
        try:
            turn = self._done.popleft()
        except IndexError:
            return
        turn.open()

    def _give_up(self, operation: Operation, turn: Gate, timeout_s: float) -> None:
        """Take an operation back that waited too long, unless it was its turn just now, or it is done.

        Raises:
            Unreachable: it waited too long. The outcome is unknown if it is part of a request that is under way.
        """
        with self._lock:
            if turn is self._leader or operation not in self._turns:
                return
            del self._turns[operation]
            withdrawn = self._batcher.withdraw(operation)
        raise _too_late(timeout_s, outcome_unknown=not withdrawn)

    def _leave(self, operation: Operation, turn: Gate) -> None:
        """Forget a thread, and pass the lane on if it leads.

        An operation that is not done is withdrawn, unless it is part of a request that is under way.
        """
        with self._lock:
            if self._turns.pop(operation, None) is not None:
                self._batcher.withdraw(operation)
            if turn is self._leader:
                self._leader = next(reversed(self._turns.values()), None)
                if self._leader is not None:
                    self._leader.open()
        self._wake_next()


def _too_late(timeout_s: float, *, outcome_unknown: bool) -> Unreachable:
    return Unreachable(f"no answer came within {timeout_s:g} s", outcome_unknown=outcome_unknown)


def _interrupted() -> Unreachable:
    return Unreachable("the thread that sent this call for others was interrupted", outcome_unknown=True)
