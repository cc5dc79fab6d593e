"""Starting brokers: a launcher process that has loaded the broker's code forks one for each test.

A new interpreter needs several tenths of a second to load that code; a fork needs a few milliseconds. A broker in a
thread of the test's own process would be as quick, but it would stop at the test's breakpoints, follow a clock that the
test has patched, and could not be killed.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Most bytes of a message between this process, the launcher and a broker.
MESSAGE_BYTES = 1 << 16

_lock = threading.Lock()
_launcher: _Launcher | None = None


class BrokerEndedError(RuntimeError):
    """The broker did not start, or has ended."""


class _Launcher:
    """The launcher process. It ends when this process does, because its standard input then ends."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "wonderq.testing.process"], stdin=theirs.fileno(), start_new_session=True
            )
        atexit.register(self._end)

    def fork(self, control: socket.socket, order: dict[str, Any]) -> None:
        """Fork a broker that has ``control`` as its end of a pair."""
        socket.send_fds(self._socket, [json.dumps(order).encode()], [control.fileno()])

    def _end(self) -> None:
        self._socket.close()
        if self.owner == os.getpid():  # a process that this one forked runs its own copy of this
            self._process.wait()


class Process:
    """A broker's process, and the connection that controls it."""

    def __init__(self, control: socket.socket) -> None:
        """Wait until the broker accepts requests.

        Raises:
            BrokerEndedError: it did not start.
        """
        self._control = control
        ready = self._answer()
        self.port: int = ready["port"]
        self._pid_fd = os.pidfd_open(ready["pid"])

    def advance(self, seconds: float) -> None:
        """Move the broker's clock, and wait until it has done what became due."""
        with suppress(BrokenPipeError):  # it has ended; the answer says so
            self._control.send(json.dumps({"advance": seconds}).encode())
        self._answer()

    def stop(self) -> None:
        """Let the broker finish its open requests, and wait for its end."""
        self._control.shutdown(socket.SHUT_WR)
        self._wait()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the broker's end."""
        with suppress(ProcessLookupError):  # it has ended by itself
            signal.pidfd_send_signal(self._pid_fd, signal.SIGKILL)
        self._wait()

    def _wait(self) -> None:
        """Wait until the process has ended: only then are its lock and its port free."""
        poll = select.poll()
        poll.register(self._pid_fd, select.POLLIN)
        poll.poll()
        os.close(self._pid_fd)
        self._control.close()

    def _answer(self) -> dict[str, Any]:
        try:
            data = self._control.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            data = b""
        answer: dict[str, Any] = json.loads(data) if data else {"error": "the broker has ended"}
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
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, _lock:
        if _launcher is None or _launcher.owner != os.getpid():
            _launcher = _Launcher()
        _launcher.fork(theirs, {"data": str(data), "log": str(log), "port": port, "ahead_s": ahead_s})
    try:
        return Process(ours)
    except BaseException:
        ours.close()
        raise
