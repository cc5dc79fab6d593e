"""The comparison of workers, and of clients: WonderQ's own sides, and workers that do not do what they are timed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import servers
from benchmarks.client_batches import BATCH, THREADS, WonderQBatches, WrongCountError
from benchmarks.workers import processes
from benchmarks.workers.__main__ import table
from benchmarks.workers.contenders import OnWonderQ, contenders
from benchmarks.workers.counting import COUNT_VARIABLE
from benchmarks.workers.processes import FailedError
from benchmarks.workers.rounds import Row, measure, run_once
from benchmarks.workers.waiting import latencies_s

pytestmark = pytest.mark.slow

TASKS = 200
SLOTS = 4


def test_both_kinds_of_tasks_of_wonderq_are_measured() -> None:
    ours = [each for each in contenders() if isinstance(each, OnWonderQ)]
    lines: list[str] = []
    rows = measure(ours, tasks=TASKS, rounds=1, slots=SLOTS, progress=lines.append)

    assert [row.problem for row in rows] == [None, None]
    assert all(row.rate > 0 for row in rows)
    assert len(lines) == 2
    assert table([*rows, Row("other", problem="not installed")]).splitlines()[3] == "other             not installed"


class EndsAtOnce(OnWonderQ):
    """A worker that runs nothing."""

    def command(self, slots: int) -> list[str]:
        return ["-c", "print('no tasks here')"]


class KeepsItsTasks(OnWonderQ):
    """A worker that runs its tasks and acknowledges none."""

    def left(self) -> int:
        processes.PATIENCE_S = 0  # no use in waiting
        return 1


class RunsTwice(OnWonderQ):
    """A worker that runs some tasks twice."""

    def filled(self) -> None:
        processes.fill(self.module, self.task, 1, {"WONDERQ_URL": self._url})


class IsDoneAtOnce(OnWonderQ):
    """A worker that has run all tasks when the first ones are seen."""

    def command(self, slots: int) -> list[str]:
        count = f"open(os.environ[{COUNT_VARIABLE!r}], 'ab').write(bytes({TASKS}))"
        return ["-c", f"import os, signal; {count}; signal.pause()"]

    def left(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("liar", "said"),
    [
        (IsDoneAtOnce, "all 200 tasks ran before they could be timed: give the benchmark more tasks"),
        (EndsAtOnce, "the start of 20 tasks did not happen; the worker wrote: no tasks here"),
        (KeepsItsTasks, "the acknowledgement of all tasks did not happen"),
        (RunsTwice, "201 tasks ran, and 200 were sent"),
    ],
)
def test_a_worker_that_does_something_else_has_no_figures(
    liar: type[OnWonderQ], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE_S", processes.PATIENCE_S)
    with pytest.raises(FailedError, match=said):
        run_once(liar("liar", "empty"), TASKS, SLOTS)


def test_latencies_are_measured_beside_their_limits(tmp_path: Path) -> None:
    with servers.running(*servers.bare(100)) as limit:
        found = latencies_s(tmp_path, limit, 25, SLOTS)
    assert [len(times) for times in found] == [25, 25, 25]
    assert all(0 < times[0] <= times[-1] for times in found)


def test_batches_are_counted(tmp_path: Path) -> None:
    with servers.running(*servers.broker(tmp_path / "data")) as server, WonderQBatches(server.url) as batches:
        batches.produce(THREADS * BATCH)
        batches.consume(THREADS * BATCH)
        batches.produce(THREADS * BATCH)
        with pytest.raises(WrongCountError, match="400 messages came, and 800 were sent"):
            batches.consume(2 * THREADS * BATCH)
