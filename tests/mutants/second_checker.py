"""Run the second checker on brokers with planted bugs, and see that it reports each:

    python -m tests.mutants.second_checker [--only NAME ...] [--minutes 3]

Each bug of the table is in the catalogue, where it names tests of its own. Here it is planted in a copy of the tree, and
`python -m tests.promises` runs there with the scenario that has to notice. Exit code 1 if any bug survives.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from tests.mutants.long_run import see_each_reported

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.second_checker", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(SCENARIOS))
    parser.add_argument("--minutes", type=float, default=3, help="longest run on each bug")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = ["--minutes", str(arguments.minutes), "--lives", "2", "--slice"]
    return see_each_reported(
        {name: ["tests.promises", *options, "--only", SCENARIOS[name]] for name in arguments.only or SCENARIOS}
    )


if __name__ == "__main__":
    sys.exit(main())
