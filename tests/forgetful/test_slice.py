"""A slice of the exploration: the smallest workload in all ways, and something of every other."""

from __future__ import annotations

import pytest

from tests.forgetful.explore import Found, main, show, work
from tests.forgetful.explorer import Figures
from tests.forgetful.lives import explore
from tests.forgetful.workloads import WORKLOADS

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
        found = work(seed, first=1, step=4, budget=3)
        return [next(found) for _ in range(4)]

    assert first(5) == first(5)
    assert first(5) != first(6)


def test_a_run_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--states", "50", "--seed", "3", "--processes", "1", "--budget", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 3, 50 states")
    assert "seed 3: no violations" in said
