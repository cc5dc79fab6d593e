"""Server process of a peer: it listens on loopback, and is always stopped by its own pid."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def missing_program(program: str, install: str) -> str | None:
    return None if shutil.which(program) else f"no {program}: {install}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """A running command, whose output is written to a file in the folder."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.output = folder / "server.log"
        self._stop_signal = stop_signal
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=None if user is None else folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until the server is ready; stop it if it does not start.

        Raises:
            RuntimeError: the server exited or timed out.
        """
        end = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                last = self.output.read_text(encoding="utf-8", errors="replace")[-1000:]
                raise RuntimeError(f"{self.process.args!r} did not start; it wrote: {last}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
