"""The processor time of a server is exact, so that a small run can divide by it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.servers import cpu_s
from tests.support.needs import needs_path

pytestmark = needs_path("/proc/self/stat")

#: Prints the time that all its threads have used for each line that it reads. One of them has ended, and another one waits.
_WORKER = """\
import sys, threading, time

def work(used):
    while time.thread_time() < 0.02:
        pass
    used.set()

def work_and_wait(used):
    work(used)
    threading.Event().wait()

for target in (work, work_and_wait):
    used = threading.Event()
    threading.Thread(target=target, args=(used,), daemon=True).start()
    used.wait()
for _ in sys.stdin:
    print(time.process_time(), time.thread_time(), flush=True)
"""


@contextmanager
def worker() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def told_s(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Return the time of all threads, and that of the main thread, as the process itself sees them."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    of_all, of_main = process.stdout.readline().split()
    return float(of_all), float(of_main)


def test_it_is_what_all_threads_of_the_process_have_used() -> None:
    with worker() as process:
        before_s, of_main_s = told_s(process)
        found_s = cpu_s(process.pid)
        after_s, _ = told_s(process)
    assert before_s <= found_s <= after_s
    assert found_s > of_main_s, "the other threads count"


def test_the_smallest_work_takes_some_time() -> None:
    with worker() as process:
        told_s(process)
        before_s = cpu_s(process.pid)
        told_s(process)
        assert cpu_s(process.pid) > before_s


def test_a_process_that_has_ended_is_named() -> None:
    with worker() as process:
        pass
    with pytest.raises(ProcessLookupError, match=f"there is no process {process.pid}, so it has no processor time"):
        cpu_s(process.pid)
