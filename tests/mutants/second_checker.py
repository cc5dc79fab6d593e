"""Run the second checker on brokers with planted bugs, and see that it reports each:

    python -m tests.mutants.second_checker [--only NAME ...] [--minutes 3]

Each bug of the table is in the catalogue, where it names tests of its own. Here it is planted in a copy of the tree, and
`python -m tests.promises` runs there with the scenario that has to notice. Exit code 1 if any bug survives.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.run import copy_of_the_tree

#: The scenario of `tests.promises` that reports a bug, by the name of the bug.
SCENARIOS = {
    "fifo_group_is_not_blocked": "fifo_order",
    "fifo_passes_over_what_is_tried_again_later": "group_blocking",
    "fifo_message_waits_for_a_younger_one": "group_blocking",
    "priorities_upside_down": "priorities",
    "younger_before_what_came_back": "oldest_first",
    "shares_do_not_count_what_is_in_flight": "fairness",
    "shares_without_turns": "fairness",
    "key_forgotten_with_its_message": "deduplication",
    "key_not_in_a_checkpoint": "deduplication",
    "dead_letter_is_in_both_queues": "dead_letters",
    "one_receive_too_many": "dead_letters",
    "redrive_keeps_the_last_error": "redrive",
    "redrive_forgets_its_progress": "redrive",
    "redrive_passes_over_what_compaction_moves": "redrive",
    "compaction_releases_everything": "exclusive_claims",
    "one_task_of_a_kind_is_restated": "schedules",
    "hand_over_without_the_deletion": "hand_over",
    "rates_are_not_counted": "rates",
    "no_limit_for_a_group_in_flight": "in_flight",
    "attempt_not_remembered": "attempts",
    "deadline_in_whole_seconds": "exclusive_claims",
    "renewed_claim_ends_at_its_old_deadline": "exclusive_claims",
    "counts_drift": "counts",
}

#: Exit code of the checker when it reports a broken promise.
REPORTED = 1


def run_checker(tree: Path, scenario: str, minutes: float) -> tuple[int, str]:
    """Run one scenario in a tree; return the exit code, and the first violation or the last line."""
    options = ["--minutes", str(minutes), "--lives", "2", "--only", scenario, "--slice"]
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", "tests.promises", *options],
        cwd=tree,
        env={
            **os.environ,
            "TMPDIR": str(tree.parent),
            "TESTS_PATIENCE_S": "60",  # a bug may make a call wait for ever
            "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "storage"))),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    lines = output.splitlines()
    told = [after for before, after in itertools.pairwise(lines) if before.startswith("mechanisms: ")]
    told += [line for line in lines if line.startswith("the run cannot go on")]
    return process.returncode, (told or lines[-1:] or [""])[0][:160]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.second_checker", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(SCENARIOS))
    parser.add_argument("--minutes", type=float, default=3, help="longest run on each bug")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    survived = []
    with copy_of_the_tree() as tree:
        for name in arguments.only or SCENARIOS:
            mutant, scenario, began_s = by_name[name], SCENARIOS[name], time.monotonic()
            path = tree / mutant.file
            source = path.read_text()
            path.write_text(mutant.planted(source))
            try:
                code, line = run_checker(tree, scenario, arguments.minutes)
            finally:
                path.write_text(source)
            caught = code == REPORTED
            survived += [] if caught else [name]
            took_s = time.monotonic() - began_s
            print(f"{took_s:6.1f} s  {'caught' if caught else 'SURVIVED':8}  {name:44} {scenario}: {line}", flush=True)
    print(f"{len(arguments.only or SCENARIOS)} bugs, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
