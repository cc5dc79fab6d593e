"""Several worker processes under one supervisor, which starts the dead anew and passes signals on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias

from wonderq.worker.signals import stop_signals
from wonderq.worker.source_files import SourceFiles

log = logging.getLogger("wonderq.worker")

#: Exit code of a process that cannot work whatever the supervisor does, such as one whose module does not exist.
UNUSABLE = 2

#: Written to the standard input of a process: give all messages back at once.
_HURRY = b"!"

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0

#: Life of a process after which its end is no sign of a lasting fault.
_STEADY_S = 20.0

#: Time after the grace in which a process gives its messages back and ends. Then it is killed.
_END_S = 30.0


class Restarts:
    """Pauses before one process is started again."""

    def __init__(self) -> None:
        self._failures = 0

    def pause_s(self, lived_s: float) -> float:
        """Return the pause after a process that lived so long: it doubles while processes die young."""
        self._failures = 0 if lived_s >= _STEADY_S else self._failures + 1
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * (1 << min(self._failures, 10)))


class Child:
    """The place of one process. Another process takes it when that one has ended."""

    def __init__(self, number: int, command: Sequence[str], ended: Callable[[Child], None]) -> None:
        self.number = number
        self._command = command
        self._ended = ended
        self._restarts = Restarts()
        self._started_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.start_s: float | None = 0.0
        """Time at which a process is to be started; None while one runs."""
        self.is_reloading = False
        """Whether the process was told to end because source files changed."""

    def start(self) -> None:
        """Start a process. It has a group of its own, so that Ctrl-C reaches the supervisor alone."""
        self.start_s = None
        self.is_reloading = False
        self._started_s = time.monotonic()
        # The process notices by the end of this pipe that the supervisor was killed. Nothing is kept in a buffer for a
        # process that has ended: the end of the pipe would fail.
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            self._command, bufsize=0, stdin=subprocess.PIPE, process_group=0
        )
        threading.Thread(target=self._wait, args=(self.process,), daemon=True).start()
        log.info("process %d started: %d", self.number, self.process.pid)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._ended(self)

    def end(self) -> tuple[int, int]:
        """Forget the process, which has ended; return its pid and exit code."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        self.process = None
        return process.pid, process.returncode

    def plan_restart(self) -> float:
        """Plan the start of the next process, and return the pause before it in seconds."""
        now_s = time.monotonic()
        pause_s = 0.0 if self.is_reloading else self._restarts.pause_s(now_s - self._started_s)
        self.start_s = now_s + pause_s
        return pause_s

    def hurry(self) -> None:
        """Tell the process to give its messages back at once."""
        if self.process is not None and self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.write(_HURRY)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)


_Event: TypeAlias = Child | signal.Signals | None
"""A child whose process ended, a signal, or None after a change of source files."""


class Supervisor:
    """Keeps processes running until a signal comes."""

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        grace_s: float,
        files: SourceFiles | None = None,
        forget: Callable[[int], None] | None = None,
    ) -> None:
        """Make a supervisor.

        Args:
            command: starts one process.
            processes: their number.
            grace_s: time that handlers have to finish at a stop.
            files: source files; a change restarts the processes.
            forget: called with the pid of a process that ended.
        """
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._children = [Child(number, command, self._events.put) for number in range(processes)]
        self._grace_s = grace_s
        self._files = files
        self._forget = forget
        self._kill_s = float("inf")
        self._code = 0

    def run(self) -> int:
        """Run until a signal comes and all processes have ended; return the exit code.

        It must run in the main thread.
        """
        with stop_signals(self._events.put):
            if self._files is not None:
                threading.Thread(target=self._watch, args=(self._files,), daemon=True).start()
            while not (self._is_stopping and all(child.process is None for child in self._children)):
                self._start_due()
                try:
                    event = self._events.get(timeout=self._patience_s())
                except Empty:
                    self._kill_late()
                    continue
                self._handle(event)
        return self._code

    @property
    def _is_stopping(self) -> bool:
        return self._kill_s < float("inf")

    def _watch(self, files: SourceFiles) -> None:
        while True:
            files.wait_for_change()
            self._events.put(None)

    def _start_due(self) -> None:
        for child in self._children:
            if not self._is_stopping and child.start_s is not None and child.start_s <= time.monotonic():
                child.start()

    def _patience_s(self) -> float | None:
        """Return the time until something is due."""
        due = (
            [self._kill_s]
            if self._is_stopping
            else [each.start_s for each in self._children if each.start_s is not None]
        )
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _handle(self, event: _Event) -> None:
        if isinstance(event, signal.Signals):
            self._stop()
        elif event is None:
            log.info("source files changed: restarting")
            for child in self._children:
                child.is_reloading = True
                child.send(signal.SIGTERM)
                if child.process is None:
                    child.plan_restart()
        else:
            self._child_ended(event)

    def _stop(self) -> None:
        """Pass a signal on. The second one is the order to hurry.

        That order is not a signal: systemd and others send each signal to all processes, which so get it twice.
        """
        if self._is_stopping:
            for child in self._children:
                child.hurry()
            return
        self._kill_s = time.monotonic() + self._grace_s + _END_S
        for child in self._children:
            child.send(signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._kill_s <= time.monotonic():
            for child in self._children:
                child.send(signal.SIGKILL)
            self._kill_s = time.monotonic() + _END_S

    def _child_ended(self, child: Child) -> None:
        pid, code = child.end()
        if self._forget is not None:
            self._forget(pid)
        if self._is_stopping:
            return
        if code == UNUSABLE:
            if self._files is None:
                self._code = UNUSABLE
                self._stop()
            else:
                log.error("process %d cannot work; it is started again when a source file changes", child.number)
            return
        was_told = child.is_reloading
        pause_s = child.plan_restart()
        if not was_told:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            log.error("process %d (%d) %s; another one starts in %.1f s", child.number, pid, how, pause_s)


class Stop(Protocol):
    """Stops a worker; see `wonderq.worker.worker.JobWorker.stop`."""

    def __call__(self, *, at_once: bool) -> None: ...


def obey_parent(stop: Stop) -> None:
    """Call ``stop`` when the supervisor of this process has ended, however it did, and when it orders to hurry.

    The supervisor holds the other end of the pipe at standard input, which handlers then find to be empty.
    """
    pipe = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def wait() -> None:
        while os.read(pipe, 1):
            stop(at_once=True)
        stop(at_once=False)

    threading.Thread(target=wait, name="wonderq-parent", daemon=True).start()
