"""A slice of `tests.worker.kill_cycles`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.kill_cycles import run_cycles


@pytest.mark.slow
def test_every_task_is_handled_though_workers_and_broker_are_killed(tmp_path: Path) -> None:
    lines: list[str] = []
    assert run_cycles(tmp_path, cycles=1, seed=17, say=lines.append) == [], lines
