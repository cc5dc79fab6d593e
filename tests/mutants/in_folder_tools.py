"""Bugs in the tools for the folder of a stopped broker."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CLOCK = "tests/tools/test_wrong_clock.py"

MUTANTS = [
    Mutant(
        "compact_takes_the_clock_of_the_machine",
        "After a compaction on a machine whose clock is a year ahead, the next broker starts a year ahead.",
        "wonderq/folder/compact.py",
        "        return self._newest_ms\n",
        "        return super().now_ms()\n",
        (f"{_CLOCK}::test_a_compaction_takes_no_time_from_the_machine",),
    ),
    Mutant(
        "import_believes_any_clock",
        "An import on a machine whose clock is a year ahead puts times of the future into the log.",
        "wonderq/folder/import_.py",
        "        if self.is_held:\n",
        "        if False:\n",
        (f"{_CLOCK}::test_an_import_with_a_doubtful_clock_is_refused",),
    ),
]
