"""Running something in a process of its own under strace, which kills it, or fails it, at a chosen system call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Every call by which the storage changes something, makes it durable, or gets at it.
CALLS = (
    "openat",
    "fallocate",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
    "mkdir",
    "close",
)

_AT_THE_START = b"."

#: No run takes as long; one that does hangs, and ends with SIGALRM.
_HANGS_S = 20

_CALL = re.compile(rb"^(?:\d+ +)?(\w+)\(", re.MULTILINE)


def why_not() -> str | None:
    """Say what this machine lacks for tracing, or None if nothing."""
    if shutil.which("strace") is None:
        return "there is no strace"
    if os.geteuid() != 0:
        return "tracing a process that runs already needs root"
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "strace may not trace"


@dataclass(frozen=True)
class Traced:
    """Outcome of a process: its output, and its exit code or, if negative, the signal that ended it."""

    said: bytes
    code: int


def attach(pid: int, *options: str) -> subprocess.Popen[bytes]:
    """Start strace on every thread of a process; returns once it is in force. The caller ends it, or the process."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if b"attached" not in line:
        tracer.kill()
        raise RuntimeError(f"strace: {line!r} {tracer.communicate()[1]!r}")
    return tracer


def run_traced(work: Callable[[Callable[[bytes], None]], None], *options: str) -> Traced:
    """Fork, do ``work`` under strace with those options, and collect what it says through its argument.

    The fork saves the start of an interpreter, and strace counts no call but those of ``work``. So the caller must have no
    other threads, and must have imported everything.
    """
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.close(go_write)
            os.write(said_write, _AT_THE_START)  # from here on, every call is one of the work
            if os.read(go_read, 1):
                signal.alarm(_HANGS_S)
                work(lambda data: _write(said_write, data))
                code = 0
        except BaseException as error:  # whatever it is, the parent has to know
            _write(said_write, f"! {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(go_read)
    os.close(said_write)
    try:
        assert os.read(said_read, 1) == _AT_THE_START
        tracer = attach(pid, *options)
        os.write(go_write, b"g")
        with open(said_read, "rb") as stream:
            said = stream.read()
        _, status = os.waitpid(pid, 0)
        tracer.communicate()
    finally:
        os.close(go_write)
    return Traced(said, os.waitstatus_to_exitcode(status))


def _write(fd: int, data: bytes) -> None:
    os.write(fd, data)


def count_calls(work: Callable[[Callable[[bytes], None]], None], scratch: Path) -> tuple[Traced, Counter[str]]:
    """Run it undisturbed; returns also how often it made each of `CALLS`."""
    traced = run_traced(work, "-e", f"trace={','.join(CALLS)}", "-o", str(scratch))
    counts = Counter(name.decode() for name in _CALL.findall(scratch.read_bytes()))
    scratch.unlink()
    return traced, counts


def killing(call: str, number: int) -> tuple[str, ...]:
    """Options for a SIGKILL in place of the ``number``-th such call."""
    return "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}", "-o", os.devnull


def failing(call: str, error: str, when: str) -> tuple[str, ...]:
    """Options for an error in place of such calls; ``when`` as strace has it: ``3`` the third alone, ``3+`` from it on."""
    return "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}", "-o", os.devnull
