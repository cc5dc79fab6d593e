"""The benchmark of a cluster: its report, and a small run of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmarks.cluster import report
from benchmarks.cluster.__main__ import run
from benchmarks.cluster.report import Found
from benchmarks.cluster.sides import FOLDER, ONE, ONE_ON_THREE, SIDES, THREE, THREE_OWNERS
from benchmarks.cluster.work import Crossed, Measured, Work
from tests.support.nats_servers import needs_nats

WORK = Work("consume", 1, 2, 8)


def measured(rate: float, nodes_us: float) -> Measured:
    return Measured(rate, nodes_us, 30.0, 40.0, 0.66, 0.5, 2.0, 8000 / rate, 40.0)


def test_the_ratios_are_medians_of_those_within_a_round() -> None:
    found = Found([WORK])
    rates = {
        FOLDER: [4000, 1000],
        ONE: [2000, 500],
        ONE_ON_THREE: [1000, 250],
        THREE: [800, 150],
        THREE_OWNERS: [3000, 650],
    }
    for side, each_round in rates.items():
        found.measured[side, WORK] = [measured(rate, 300 if side == THREE else 200) for rate in each_round]
    found.crossed[THREE] = [Crossed(5000, 20, 30), Crossed(6000, 20, 30), Crossed(9000, 20, 30)]
    found.idle = {FOLDER: (0.01, 0), THREE: (0.09, 0.06)}
    found.repeated = defaultdict(Counter, {ONE: Counter(), THREE: Counter(outcome_unknown=2, no_quorum=1)})
    lines = list(report.lines(found))
    assert (
        "| consume 1, 2 connections | 2,500 | 1,250 (0.50) | 625 (0.25) | 475 (0.17) | 1,825 (0.70) | 0.70 | 2.00 | 2.80 | 3.00 |"
        in lines
    ), "three nodes with 1.5 times the processor time have twice the rate on three cores"
    assert "| consume 1, 2 connections | 5.0 / 40.0 | 10.0 / 40.0 | 20.0 / 40.0 | 31.7 / 40.0 | 7.5 / 40.0 |" in lines
    assert f"| {THREE} | 6,000 | 20 | 30 |" in lines
    assert f"| {THREE} | 3.0% | 2.0% |" in lines
    assert f"| {FOLDER} | 1.0% |  |" in lines
    assert f"| {THREE} | outcome_unknown | 2 |" in lines
    assert f"| {THREE} | no_quorum | 1 |" in lines


@needs_nats
@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    works = [Work("produce", 1, 3, 60), WORK, Work("consume", 10, 3, 30)]
    found = run(tmp_path, 1, works, crossing=500, idle_s=0.1)
    assert found.sides == list(SIDES)
    for work in works:
        for side in SIDES:
            [each] = found.measured[side, work]
            assert each.messages_per_s > 0
            assert each.nodes_us >= 0
            if side != THREE_OWNERS:  # on a busy machine, a shard may have moved since its owner was asked for
                assert (each.forwarded > 0) == (side == THREE), "only nodes that do not own everything pass requests on"
            assert each.appends > 0
            assert 0 < each.p50_ms <= each.p99_ms
    assert list(found.crossed) == [ONE, ONE_ON_THREE, THREE, THREE_OWNERS]
    assert len(list(report.lines(found))) > len(works) * (1 + len(SIDES))
