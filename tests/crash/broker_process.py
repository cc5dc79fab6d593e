"""A broker process that can be killed while it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.running import _READY, _read_line


class BrokerProcess:
    """Starts at once and does not wait. ``segment_bytes`` below what the command line takes goes past it.

    ``environment`` is added to this process's own.
    """

    def __init__(
        self,
        data: Path,
        errors: Path,
        *,
        fsync: str,
        segment_bytes: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        module = ["wonderq", "serve"] if segment_bytes >= 32 << 20 else ["tests.crash.serve_small"]
        options = [
            "--data",
            str(data),
            "--listen",
            "127.0.0.1:0",
            "--fsync",
            fsync,
            "--segment-bytes",
            str(segment_bytes),
        ]
        self._errors = errors
        with errors.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd=Path(__file__).parents[2],
                env={**os.environ, **(environment or {})},
            )

    def ready(self, within_s: float = 30) -> str:
        """Return the address once it accepts requests."""
        assert self.process.stdout is not None
        line = _read_line(self.process.stdout, within_s)
        found = _READY.fullmatch(line)
        if found is None:
            self.kill()
            raise BrokerDidNotStartError(f"it printed {line!r} and logged: {self.log()[-3000:]}")
        return found[1]

    def log(self) -> str:
        return self._errors.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self._reap(10)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self._reap(30)

    def _reap(self, within_s: float) -> int:
        assert self.process.stdout is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()


class BrokerDidNotStartError(Exception):
    """A broker that must be able to start did not."""
