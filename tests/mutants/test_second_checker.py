"""The table of bugs that the second checker has to report fits the catalogue and the scenarios."""

from __future__ import annotations

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT
from tests.mutants.second_checker import SCENARIOS


def test_each_bug_is_in_the_catalogue_and_has_a_scenario() -> None:
    names = {mutant.name for mutant in MUTANTS}
    scenarios = {path.stem for path in (ROOT / "tests" / "promises" / "scenarios").glob("*.py")}
    assert {bug: scenario for bug, scenario in SCENARIOS.items() if bug not in names or scenario not in scenarios} == {}
