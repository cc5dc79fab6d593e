"""Starting brokers: a launcher process that has loaded the broker's code forks one for each test.

A new interpreter needs several tenths of a second to load that code; a fork needs a few milliseconds. A broker in a
thread of the test's own process would be as quick, but it would stop at the test's breakpoints, follow a clock that the
test has patched, and could not be killed.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from wonderq.testing.messages import Messages

#: Interval of the looks whether a broker has ended, on systems that do not report it.
_LOOK_S = 0.005

_lock = threading.Lock()
_launcher: _Launcher | None = None


class BrokerEndedError(RuntimeError):
    """The broker did not start, or has ended."""


class _Launcher:
    """The launcher process. It ends when this process does, because its standard input then ends."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        self._orders = Messages(ours)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "wonderq.testing.process"], stdin=theirs.fileno(), start_new_session=True
            )
        atexit.register(self._end)

    def fork(self, control: socket.socket, order: dict[str, Any]) -> None:
        """Fork a broker that has ``control`` as its end of a pair.

        Raises:
            BrokerEndedError: the launcher has ended.
        """
        self._orders.send(order, control)
        if self._orders.receive() is None:
            raise BrokerEndedError("the process that starts brokers has ended")

    def _end(self) -> None:
        self._orders.close()
        if self.owner == os.getpid():  # a process that this one forked runs its own copy of this
            self._process.wait()


class Process:
    """A broker's process, and the connection that controls it."""

    def __init__(self, control: socket.socket) -> None:
        """Wait until the broker accepts requests.

        Raises:
            BrokerEndedError: it did not start.
        """
        self._control = Messages(control)
        ready = self._answer()
        self.port: int = ready["port"]
        self._pid: int = ready["pid"]
        self._pid_fd: int | None = os.pidfd_open(self._pid) if hasattr(os, "pidfd_open") else None

    def advance(self, seconds: float) -> None:
        """Move the broker's clock, and wait until it has done what became due."""
        with suppress(BrokenPipeError):  # it has ended; the answer says so
            self._control.send({"advance": seconds})
        self._answer()

    def stop(self) -> None:
        """Let the broker finish its open requests, and wait for its end."""
        self._control.end()
        self._wait()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the broker's end."""
        with suppress(ProcessLookupError):  # it has ended by itself
            if self._pid_fd is not None:
                signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)
            elif not self._control.is_at_end():  # else the number may be that of another process by now
                os.kill(self._pid, signal.SIGKILL)
        self._wait()

    def _wait(self) -> None:
        """Wait until the process has ended: only then are its lock and its port free."""
        if self._pid_fd is not None:
            poll = select.poll()
            poll.register(self._pid_fd, select.POLLIN)
            poll.poll()
            os.close(self._pid_fd)
        else:
            with suppress(ProcessLookupError):
                while True:
                    os.kill(self._pid, 0)
                    time.sleep(_LOOK_S)
        self._control.close()

    def _answer(self) -> dict[str, Any]:
        answer = self._control.receive() or {"error": "the broker has ended"}
        if "error" in answer:
            raise BrokerEndedError(answer["error"])
        return answer


def launch(data: Path, log: Path, *, port: int, ahead_s: float) -> Process:
    """Start a broker, and wait until it accepts requests.

    Args:
        data: its folder.
        log: file that its log lines are added to.
        port: port on 127.0.0.1; 0 takes a free one.
        ahead_s: seconds by which its clock is ahead of the system's.

    Raises:
        BrokerEndedError: it did not start.
    """
    global _launcher  # noqa: PLW0603  # one for all brokers of this process
    ours, theirs = socket.socketpair()
    with theirs, _lock:
        if _launcher is None or _launcher.owner != os.getpid():
            _launcher = _Launcher()
        _launcher.fork(theirs, {"data": str(data), "log": str(log), "port": port, "ahead_s": ahead_s})
    try:
        return Process(ours)
    except BaseException:
        ours.close()
        raise
