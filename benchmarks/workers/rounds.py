"""Rounds: in each, every worker runs its share of the tasks. The order alternates, and each broker has a new folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.workers.contenders import Contender
from benchmarks.workers.processes import FailedError, fill, worker

#: The first tasks are not timed: a worker fills its slots and starts its threads.
_WARM = 10


@dataclass
class Row:
    """Result of one worker: figures of each round, or the reason why it has none."""

    name: str
    rates: list[float] = field(default_factory=list)
    """Tasks per second."""
    cpu_us: list[float] = field(default_factory=list)
    """CPU time of the worker per task."""
    problem: str | None = None

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def cpu(self) -> float:
        return median(self.cpu_us)

    def ratio_to(self, other: Row) -> float:
        """Return the median of the ratios of each round."""
        return median(mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True))


def measure(
    contenders: Sequence[Contender], *, tasks: int, rounds: int, slots: int, progress: Callable[[str], None]
) -> list[Row]:
    """Measure the workers. One that fails is not tried again."""
    rows = {each.name: Row(each.name, problem=each.missing()) for each in contenders}
    for number in range(rounds):
        for each in contenders if number % 2 == 0 else reversed(contenders):
            row = rows[each.name]
            if row.problem is not None:
                continue
            try:
                rate, cpu_us = run_once(each, max(tasks // each.share, _WARM), slots)
            except FailedError as error:
                row.problem = str(error)
                progress(f"{row.name}: {row.problem}")
                continue
            row.rates.append(rate)
            row.cpu_us.append(cpu_us)
            progress(f"round {number + 1}, {row.name}: {rate:,.0f} tasks/s, {cpu_us:.0f} us of CPU time a task")
    return list(rows.values())


def run_once(contender: Contender, tasks: int, slots: int) -> tuple[float, float]:
    """Return the tasks per second, and the CPU time of the worker per task in µs.

    Raises:
        FailedError: tasks did not run, ran twice, were not acknowledged, or were too few to be timed.
    """
    with tempfile.TemporaryDirectory(prefix="wonderq-workers-") as name:
        folder, counted = Path(name), Path(name) / "count"
        (folder / "broker").mkdir()
        try:
            variables = contender.start(folder / "broker")
            fill(contender.module, contender.task, tasks, variables)
            counted.write_bytes(b"")
            contender.filled()
            warm = tasks // _WARM
            with worker(contender.command(slots), variables, folder) as running:
                began = running.wait_until(lambda: counted.stat().st_size >= warm, f"the start of {warm} tasks")
                began_count, began_cpu_s = counted.stat().st_size, running.cpu_s()
                ended = running.wait_until(lambda: counted.stat().st_size >= tasks, f"the end of {tasks} tasks")
                cpu_s = running.cpu_s() - began_cpu_s
                running.wait_until(lambda: contender.left() == 0, "the acknowledgement of all tasks")
        finally:
            contender.stop()
        if counted.stat().st_size != tasks:
            raise FailedError(f"{counted.stat().st_size} tasks ran, and {tasks} were sent")
    timed = tasks - began_count
    if not timed:
        raise FailedError(f"all {tasks} tasks ran before they could be timed: give the benchmark more tasks")
    return timed / (ended - began), cpu_s / timed * 1e6
