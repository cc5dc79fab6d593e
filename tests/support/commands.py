"""The `wonderq` command in a process, and its output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from tests.support.waiting import PATIENCE_S

COMMAND = [sys.executable, "-m", "wonderq"]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without settings of ours, and with output buffered as it is for everybody."""
    ours = ("WONDERQ_", "PYTHONUNBUFFERED", "PYTHONIOENCODING")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, **(extra or {})}


@dataclass
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: bytes
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def run(*arguments: str | bytes, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command to its end. Its input is a file, so that where the batches end does not depend on luck."""
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdin=file,
            capture_output=True,
            env=clean_environment(environment),
            timeout=PATIENCE_S,
            check=False,
        )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


@dataclass
class Wonderq:
    """The command, set to one broker and one queue."""

    url: str
    queue: str

    def __call__(self, command: str, *arguments: str | bytes, stdin: bytes = b"") -> Outcome:
        return run(command, "--url", self.url, "--queue", self.queue, *arguments, stdin=stdin)

    @contextmanager
    def running(
        self, command: str, *arguments: str, stderr: IO[bytes] | int = subprocess.PIPE
    ) -> Iterator[subprocess.Popen[bytes]]:
        with started(command, "--url", self.url, "--queue", self.queue, *arguments, stderr=stderr) as process:
            yield process


@contextmanager
def started(*arguments: str, stderr: IO[bytes] | int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command with pipes; it is ended when the block is left."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=clean_environment(),
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_lines(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """Return the next lines that a process prints, failing if they do not come."""
    out = process.stdout
    assert out is not None
    data = b""
    end = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        while data.count(b"\n") < count:
            assert selector.select(max(end - time.monotonic(), 0)), f"only {data!r} came"
            piece = os.read(out.fileno(), 1)
            assert piece, f"the output ended after {data!r}"
            data += piece
    return data.decode().splitlines()


def interrupt(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Press Ctrl-C; returns the exit code and what was printed to stderr."""
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_S)
    return process.returncode, error.decode()
