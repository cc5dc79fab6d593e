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
    Mutant(
        "salvage_takes_lost_sectors_for_the_end",
        "A sector that the disk cannot read is taken for space that was never written, and a check finds no damage.",
        "storage/wonderq_storage/salvage.py",
        "            self._report_unreadable(current.path)\n",
        "",
        ("tests/storage/test_bad_medium.py::test_only_what_is_in_an_unreadable_block_is_lost",),
    ),
    Mutant(
        "salvage_stops_at_a_bad_sector",
        "A repair gives up at the first sector that the disk cannot read.",
        "storage/wonderq_storage/bad_medium.py",
        "                self._lost.add(block)\n",
        "                raise\n",
        ("tests/tools/test_bad_medium.py::test_a_repair_saves_all_but_the_message_in_a_bad_sector",),
    ),
    Mutant(
        "repair_works_in_vain_for_a_mount_point",
        "A repair into a mount point fails after all its work, and what it leaves blocks the next one.",
        "wonderq/folder/repair.py",
        "    check_can_be_replaced(target)\n",
        "",
        ("tests/tools/test_targets.py::test_a_mount_point_is_refused_before_the_work",),
    ),
]
