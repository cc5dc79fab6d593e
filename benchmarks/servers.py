"""Server processes for the benchmarks: `wonderq serve`, or the application of `benchmarks.bare`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
    """Return the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
