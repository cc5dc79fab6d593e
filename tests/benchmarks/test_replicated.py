"""The benchmark of a log in JetStream: its report, and a small run of it."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.replicated import availability, speed
from benchmarks.replicated.speed import FOLDER, LOGS, ONE, OPERATIONS, SITUATIONS, THREE, Measured, Situation
from tests.support.nats_servers import needs_nats


def test_the_ratios_are_those_of_medians() -> None:
    rates = {FOLDER: [1000.0, 2000.0, 90_000.0], ONE: [500.0, 1000.0, 1500.0], THREE: [10.0, 500.0, 500.0]}
    found: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    for situation in SITUATIONS:
        for operation in OPERATIONS:
            for log in LOGS:
                found[situation.name, operation, log] = [Measured(rate, 1000 / rate, [1.0, 2.0]) for rate in rates[log]]
    lines = speed.report(found).splitlines()
    assert "| 64 x 1 | claim | 2,000 (1.50/2.00) | 1,000 (0.50) | 500 (0.25, 1.50/2.00) | |" in lines
    assert "| 64 x 1 | all three | | (0.50) | (0.25) | at least 0.7 |" in lines


@pytest.mark.parametrize(("count", "p95"), [(1, 1), (20, 19), (30, 29), (100, 95)])
def test_the_95th_percentile_is_not_below_95_percent_of_all(
    count: int, p95: int, capsys: pytest.CaptureFixture[str]
) -> None:
    availability.print_times("an event", [float(each) for each in range(count, 0, -1)])
    assert f"p95 {p95:.3f} s, longest {count:.3f} s of {count}" in capsys.readouterr().out
    assert p95 == math.ceil(0.95 * count)


@needs_nats
@pytest.mark.slow
def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SITUATIONS", (Situation(2, 3, 4, 0.5),))
    lines = speed.run(tmp_path, 2).splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| 2 x 3", operation] for operation in (*OPERATIONS, "all three")
    ]
