"""A `wonderq serve` process, for tests that need the wire, a signal or a crash."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from tests.support.waiting import PATIENCE_S

#: Smallest segments that the command line takes.
MIN_SEGMENT_BYTES = 32 << 20

_ROOT = Path(__file__).parents[2]
_READY = re.compile(r"wonderq listening on (http://\S+) \(data .*, fsync .*\)\n")


class BrokerDidNotStartError(AssertionError):
    """A broker that must be able to start did not."""


class BrokerProcess:
    """A broker on a free port, which may be killed while it still starts: `ready` waits until it accepts requests.

    As a context manager it is killed at the end, unless it has ended before.

    The process appends its standard error to the file ``stderr``, so that a second broker on the same folder
    keeps the first one's lines. ``options`` are further flags of `wonderq serve`. With ``segment_bytes`` below
    `MIN_SEGMENT_BYTES` the broker is `tests.support.serve_small`, which also writes checkpoints and compacts all the time.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        segment_bytes: int | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: Path | None = None,
    ) -> None:
        self.data = data
        self.stderr = stderr or data.with_name(data.name + ".stderr")
        command = ["wonderq", "serve"]
        if segment_bytes is not None:
            options = (*options, "--segment-bytes", str(segment_bytes))
            if segment_bytes < MIN_SEGMENT_BYTES:
                command = ["tests.support.serve_small"]
        module = [sys.executable, "-m", *command]
        self.process = self._spawn([*module, "--data", str(data), "--listen", "127.0.0.1:0", *options], environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WONDERQ_")}
        with self.stderr.open("ab") as errors:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=_ROOT,
                env={**inherited, **(environment or {})},
            )

    def ready(self) -> str:
        """Return the address once the broker accepts requests.

        Raises:
            BrokerDidNotStartError: the process ended, or printed something else.
        """
        address = read_address(self._stdout)
        if address is None:
            self.kill()
            raise BrokerDidNotStartError(f"the broker did not start, it logged:\n{self.log()}")
        return address

    @property
    def _stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def log(self) -> str:
        """Return what the process wrote to stderr. It must have ended: a running broker may still hold lines back."""
        assert self.process.poll() is not None
        return self.log_so_far()

    def log_so_far(self) -> str:
        """Return what the process wrote to stderr so far, for a test that waits for a line."""
        return self.stderr.read_text(errors="replace")

    def kill(self) -> None:
        """Send SIGKILL, as a crash would end the broker, and wait for the end."""
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code. A broker that does not end within `PATIENCE_S` fails the test."""
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._stdout.close()


class RunningBroker(BrokerProcess):
    """A broker that accepts requests at ``url``. Use it as a context manager."""

    def __init__(
        self,
        data: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        stderr: Path | None = None,
    ) -> None:
        super().__init__(data, *options, environment=environment, stderr=stderr)
        try:
            self.url = self.ready()
        except BaseException:
            self.kill()
            raise

    @property
    def host(self) -> str:
        """The address that the broker listens on."""
        return self.url.removeprefix("http://").rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port that the broker listens on."""
        return int(self.url.rpartition(":")[2])

    def restarted(self, sign: signal.Signals, outage_s: float) -> RunningBroker:
        """End this broker by a signal, and return another one with the same folder and port after an outage."""
        self.process.send_signal(sign)
        self._reap()
        time.sleep(outage_s)
        return RunningBroker(self.data, "--listen", f"127.0.0.1:{self.port}")


def read_address(stream: IO[str]) -> str | None:
    """Wait for the line that a broker prints once it accepts requests, and return the address, or None for another line."""
    found = _READY.fullmatch(read_line(stream))
    return None if found is None else found[1]


def read_line(stream: IO[str]) -> str:
    """Return the next line, or the part of it that came before the end of the stream or of `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not data.endswith(b"\n") and selector.select(max(end - time.monotonic(), 0)):
            piece = os.read(stream.fileno(), 1)
            if not piece:
                break
            data += piece
    return data.decode(errors="replace")
