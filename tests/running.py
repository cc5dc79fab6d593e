"""A real `wonderq serve` process, for tests that need the wire, a signal or a crash."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

_READY = re.compile(r"wonderq listening on (http://\S+) \(data .*, fsync .*\)\n")


class RunningBroker:
    """Starts a broker on a free port and always ends it: use it as a context manager.

    What the process writes to stderr is appended to the file ``stderr``, so that a second broker on the same folder
    keeps the first one's lines. ``options`` are further flags of `wonderq serve`.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        start_s: float = 30,
        environment: Mapping[str, str] | None = None,
        stderr: Path | None = None,
    ) -> None:
        self.data = data
        self.stderr = stderr or data.with_name(data.name + ".stderr")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WONDERQ_")}
        with self.stderr.open("ab") as errors:
            self.process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, "-m", "wonderq", "serve", "--data", str(data), "--listen", "127.0.0.1:0", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**inherited, **(environment or {})},
            )
        try:
            self.url = self._read_url(start_s)
        except BaseException:
            self.kill()
            raise

    def _read_url(self, start_s: float) -> str:
        line = _read_line(self._stdout, start_s)
        found = _READY.fullmatch(line)
        if found is None:
            raise AssertionError(f"the broker did not start, it printed {line!r} and logged:\n{self.log()}")
        return found[1]

    @property
    def _stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def log(self) -> str:
        """What the process wrote to stderr so far."""
        return self.stderr.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self._reap(10)

    def terminate(self, within_s: float = 30) -> int:
        """SIGTERM; returns the exit code once the process has ended. One that takes longer is killed, and the test fails."""
        self.process.terminate()
        return self._reap(within_s)

    def _reap(self, within_s: float) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()


def _read_line(stream: IO[str], within_s: float) -> str:
    """Return the first line, or what there is of it when the stream ends or time is up."""
    end = time.monotonic() + within_s
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not data.endswith(b"\n") and selector.select(max(end - time.monotonic(), 0)):
            piece = os.read(stream.fileno(), 1)
            if not piece:
                break
            data += piece
    return data.decode(errors="replace")
