"""A slice of the exploration: the smallest workload in all ways, and something of every other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.forgetful.explore import Found, show, work
from tests.forgetful.explorer import Figures
from tests.forgetful.lives import explore
from tests.forgetful.workloads import WORKLOADS
from tests.support.waiting import PATIENCE_S

SEED = 20240229


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_holds_after_a_crash(workload: str) -> None:
    exhaustive = workload == "tiny"
    figures = Figures()
    for life in explore(workload, str(SEED), 1500 if exhaustive else 3):
        assert not life.violations, show(Found(workload, str(SEED), *life), life.violations[0])
        figures += life.figures
    print(f"seed {SEED}, {workload}: {figures}")
    assert figures.states > 100
    assert figures.recovery_states
    if exhaustive:
        assert figures.exhausted == figures.boundaries > 10


def test_a_seed_repeats_everything() -> None:
    def first(seed: int) -> list[Found]:
        found = work(seed, first=1, step=4, budget=2)
        return [next(found) for _ in range(3)]

    assert first(5) == first(5)
    assert first(5) != first(6)


def test_a_run_that_is_told_to_stop_says_what_it_did() -> None:
    command = [sys.executable, "-m", "tests.forgetful.explore", "--seed", "3", "--processes", "1", "--budget", "3"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline().startswith("seed 3, 10,000,000 states")
    run.terminate()
    said, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0
    assert "seed 3: no violations, stopped early\n" in said
