"""Planted bugs: who waits on a fiber goes on too early, or is not told."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DURABILITY = "wonderq/runtime/durability.py"
_FILE = "wonderq/runtime/fibers.py"
_TESTS = "tests/broker/test_fibers.py"

MUTANTS = [
    Mutant(
        "reached_before_the_sync",
        "A record counts as durable while its sync still runs: a crash can lose a record that an answer is based on.",
        _DURABILITY,
        "                self._log.wait(position)\n                self._reached = position\n",
        "                self._reached = position\n                self._log.wait(position)\n",
        (f"{_TESTS}::TestDurability::test_nobody_goes_on_before_the_record_is_durable",),
    ),
    Mutant(
        "failed_sync_passes_for_durable",
        "Requests are answered 201 after the disk has failed.",
        _DURABILITY,
        "                self._log.wait(position)\n                self._reached = position\n",
        "                self._log.wait(position)\n            self._reached = position\n",
        (f"{_TESTS}::TestDurability::test_a_failure_reaches_everybody",),
        hangs=True,
    ),
    Mutant(
        "late_wake_up_counts",
        "A timer of an earlier wait lets a request go on whose record is not durable.",
        _FILE,
        "            if fiber.sleeps == sleep:\n                fiber.switch()\n",
        "            fiber.switch()\n",
        (f"{_TESTS}::test_a_wake_up_that_comes_too_late_means_nothing",),
    ),
    Mutant(
        "a_closed_hub_is_interrupted",
        "At a stop a byte is written to whatever file has the number of the closed pipe: perhaps the log.",
        _FILE,
        "            if not self._closed:\n                self._interrupt()\n",
        "            self._interrupt()\n",
        (f"{_TESTS}::test_nobody_is_interrupted_once_the_hub_is_closed",),
    ),
]
