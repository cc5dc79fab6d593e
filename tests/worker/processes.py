"""`wonderq worker` in a process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

from tests.support.commands import COMMAND, clean_environment
from tests.support.waiting import PATIENCE_S, eventually

_numbers = itertools.count(1)


class WorkerProcess:
    """A worker that runs in a folder with its modules. Use it as a context manager, which kills it at the end."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *options: str,
        app: str = "tasks:app",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = folder / f"worker-{next(_numbers)}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "worker", app, *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment({"WONDERQ_URL": url, "PYTHONFAULTHANDLER": "1", **(environment or {})}),
            )

    def log(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for_line(self, text: str) -> str:
        """Wait for a line that contains a text, and return it."""

        def found() -> str | None:
            ended = self.process.poll() is not None
            line = next((line for line in self.log().splitlines() if text in line), None)
            assert line or not ended, f"the worker ended without {text!r}:\n{self.log()}"
            return line

        return eventually(found, f"{text!r} in the log of the worker") or ""

    def ready(self) -> None:
        """Wait until it receives messages, and handles signals."""
        self.wait_for_line("receiving from")

    def stop(self) -> None:
        """Send SIGTERM, and wait until the worker has noticed."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_for_line("stopping: ")

    def hurry(self) -> None:
        """Send SIGTERM again."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end, and return the exit code. If it does not come, report where each thread is."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            for each in (*(children.read_text().split() if children.exists() else ()), str(pid)):
                os.kill(int(each), signal.SIGABRT)  # `PYTHONFAULTHANDLER` writes the stacks into the log
                eventually(partial(self._has_gone, each))
            self.process.wait(PATIENCE_S)
            raise AssertionError(f"the worker did not end:\n{self.log()}") from None

    def _has_gone(self, process: str) -> bool:
        return self.process.poll() is not None or not Path("/proc", process).exists()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
