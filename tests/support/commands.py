"""The `wonderq` command, in this process or in one of its own, and its output."""

from __future__ import annotations

import logging
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any
from unittest import mock

from tests.support.waiting import PATIENCE_S
from wonderq.cli.main import main

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
    """Run a command to its end in this process, with files for its standard streams.

    An exception that would be a traceback for a user fails the test. Use `run_process` for a command that depends on
    variables of Python or of the locale, and for a broker that is to start.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        given.write(stdin)
        given.seek(0)
        with _streams(given, out, error), _globals_of_a_process(clean_environment(environment)), _deadline():
            code = _exit_code([os.fsdecode(each) for each in arguments])
        out.seek(0)
        error.seek(0)
        return Outcome(code, out.read(), error.read().decode())


def _exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:  # of argparse
        return int(ended.code or 0)


@contextmanager
def _streams(given: IO[bytes], out: IO[bytes], error: IO[bytes]) -> Iterator[None]:
    """Open the standard streams as Python does for a pipe in a locale with UTF-8."""
    with ExitStack() as stack:
        for name, file, mode, errors in (
            ("stdin", given, "r", "surrogateescape"),
            ("stdout", out, "w", "surrogateescape"),
            ("stderr", error, "w", "backslashreplace"),
        ):
            stream = open(file.fileno(), mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            stack.enter_context(mock.patch.object(sys, name, stack.enter_context(stream)))
        yield


@contextmanager
def _globals_of_a_process(environment: Mapping[str, str]) -> Iterator[None]:
    """Set the environment; afterwards restore it, the limit of files, and the handlers of the log."""
    limits, logger = resource.getrlimit(resource.RLIMIT_NOFILE), logging.getLogger("wonderq")
    handlers = logger.handlers[:]
    try:
        with mock.patch.dict(os.environ, environment, clear=True):
            yield
    finally:
        logger.handlers[:] = handlers
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextmanager
def _deadline() -> Iterator[None]:
    """Fail the test if the block takes longer than `PATIENCE_S`. Works in the main thread only."""

    def fail(*_: Any) -> None:
        raise AssertionError(f"the command did not end within {PATIENCE_S:.0f} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_process(*arguments: str | bytes, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command to its end in a process. Its input is a file, so that where the batches end does not depend on luck."""
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
    """The command, set to one broker and one queue. A call runs it in this process."""

    url: str
    queue: str

    def __call__(self, command: str, *arguments: str | bytes, stdin: bytes = b"") -> Outcome:
        return run(command, "--url", self.url, "--queue", self.queue, *arguments, stdin=stdin)

    def on_queue(self, verb: str, *arguments: str | bytes) -> Outcome:
        """Run `wonderq queue VERB`."""
        return run("queue", verb, self.queue, "--url", self.url, *arguments)

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
