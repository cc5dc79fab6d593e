"""Processes of the benchmark: the worker that is measured, and the one that sends its tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import cpu_s
from benchmarks.workers.counting import COUNT_VARIABLE

PATIENCE_S = 300
_STOP_S = 60
_PAUSE_S = 0.002


class FailedError(Exception):
    """A worker ended, or did not run all tasks."""


def fill(module: str, task: str, tasks: int, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.workers.fill", module, task, str(tasks)]
    subprocess.run(command, check=True, env={**os.environ, **variables})


class RunningWorker:
    """A worker, which may have processes of its own."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def cpu_s(self) -> float:
        """Return the CPU time that it has used so far, with its processes."""
        return sum(map(cpu_s, _tree(self._process.pid)))

    def wait_until(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for a condition, and return the time at which it was found.

        Raises:
            FailedError: it did not come true, or the worker ended.
        """
        began = time.perf_counter()
        while not condition():
            if self._process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                last = self._output.read_text(encoding="utf-8", errors="replace")[-1000:]
                raise FailedError(f"{what} did not happen; the worker wrote: {last}")
            time.sleep(_PAUSE_S)
        return time.perf_counter()


@contextmanager
def worker(arguments: list[str], variables: dict[str, str], folder: Path) -> Iterator[RunningWorker]:
    """Run ``python ARGUMENTS`` until the end of the block. Its tasks count in the file ``count`` of the folder."""
    output = folder / "worker.log"
    environment = {**os.environ, **variables, COUNT_VARIABLE: str(folder / "count")}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment
        )
    try:
        yield RunningWorker(process, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="utf-8").split():
            yield from _tree(int(child))
