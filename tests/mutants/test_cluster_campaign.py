"""The table of bugs that the campaign of faults on clusters has to report fits the catalogue and the faults."""

from __future__ import annotations

from tests.mutants.catalogue import MUTANTS
from tests.mutants.cluster_campaign import KINDS
from tests.mutants.mutant import ROOT


def test_each_bug_is_in_the_catalogue_and_has_kinds_of_faults() -> None:
    names = {mutant.name for mutant in MUTANTS}
    faults = (ROOT / "tests" / "cluster_faults" / "faults.py").read_text()
    unknown = {
        bug: kinds
        for bug, kinds in KINDS.items()
        if bug not in names or any(f'"{each}"' not in faults for each in kinds)
    }
    assert unknown == {}
