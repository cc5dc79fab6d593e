"""Run the campaign of faults on clusters with planted bugs, and see that it reports each:

    python -m tests.mutants.cluster_campaign [--only NAME ...] [--faults 20] [--seed S]

Each bug of the table is in the catalogue, where it names tests of its own. Here it is planted in a copy of the tree, and
`python -m tests.cluster_faults` runs there with the faults that lead to its harm. Exit code 1 if any bug survives.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from tests.mutants.long_run import see_each_reported

#: The kinds of faults of `tests.cluster_faults` by which a bug does its harm, by the name of the bug.
KINDS = {
    "crossing_without_a_key": ("sender of crossing messages killed",),
    "outboxes_are_forgotten_at_a_takeover": ("sender of crossing messages killed",),
    "outbox_is_emptied_before_the_acknowledgement": ("receiver of crossing messages killed",),
    "append_without_an_expected_sequence": ("node frozen",),
    "unknown_outcome_is_repeated_without_a_key": ("node killed", "all nodes killed"),
    "wrong_clock_owns_shards": ("clock ten minutes ahead",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.cluster_campaign", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(KINDS))
    parser.add_argument("--faults", type=int, default=20, help="most faults on each bug")
    parser.add_argument("--seed", type=int, help="of the choices of each run")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = ["tests.cluster_faults", "--faults", str(arguments.faults), "--slice"]
    if arguments.seed is not None:
        options += ["--seed", str(arguments.seed)]
    return see_each_reported(
        {
            name: [*options, *(word for kind in KINDS[name] for word in ("--only", kind))]
            for name in arguments.only or KINDS
        }
    )


if __name__ == "__main__":
    sys.exit(main())
