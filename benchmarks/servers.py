"""Server processes for the benchmarks: `wonderq serve`, or the application of `benchmarks.bare`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_URL = re.compile(r"http://\S+")


class RunningServer:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def cpu_s(self) -> float:
        """Return the CPU time that the server has used so far."""
        return cpu_s(self._process.pid)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far, with all its threads, exact to the nanosecond.

    Raises:
        ProcessLookupError: the process has ended.
    """
    # Linux gives each process a clock by this number. /proc/PID/stat counts ticks of 10 ms; a small run uses none.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(f"there is no process {pid}, so it has no processor time") from error


@contextmanager
def running(*arguments: str, tree: Path | None = None) -> Iterator[RunningServer]:
    """Run ``python -m ARGUMENTS`` until the end of the block. Its first line of output must contain its address.

    ``tree`` is another checkout to run it in.
    """
    environment = dict(os.environ)
    if tree is not None:
        environment["PYTHONPATH"] = os.pathsep.join((str(tree), str(tree / "storage")))
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tree,
        env=environment,
    )
    assert process.stdout is not None
    try:
        found = _URL.search(process.stdout.readline())
        if found is None:
            raise SystemExit(f"{' '.join(arguments)} did not start")
        yield RunningServer(process, found[0])
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def broker(folder: Path) -> tuple[str, ...]:
    return ("wonderq", "serve", "--listen", "127.0.0.1:0", "--data", str(folder))


def bare(body_bytes: int) -> tuple[str, ...]:
    return ("benchmarks.bare", "--body-bytes", str(body_bytes))
