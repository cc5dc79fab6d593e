"""A slice of the second checker: a round or two with every scenario that fits, and its command line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.promises.__main__ import main
from tests.promises.catalogue import SCENARIOS
from tests.promises.run import KILLS, KILLS_WHILE_STARTING, STOPS, Plan, Run

pytestmark = pytest.mark.slow


def test_a_slice_breaks_no_promise(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    run = Run(Plan(seed, lives=2, life_s=(1, 2)), tmp_path)
    run.run()
    found = [str(violation) for verdict in run.verdicts.values() for violation in verdict.violations]
    assert found == []
    assert run.mechanisms[KILLS] + run.mechanisms[STOPS] == 2
    assert run.mechanisms[KILLS_WHILE_STARTING] <= 2
    judged = [name for name, verdict in run.verdicts.items() if verdict.counts.total()]
    assert len(judged) == min(run.plan.together, len(SCENARIOS))


def test_the_command_prints_its_seed_and_what_the_judges_saw(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--minutes", "0", "--seed", "1", "--only", "acknowledged", "--slice"])
    out = capsys.readouterr().out
    assert code == 0, out
    assert out.startswith("seed 1\n")
    assert "mechanisms: kills " in out
    assert "acknowledged: messages acknowledged and kept " in out
