"""The command `wonderq demo`."""

from __future__ import annotations

import argparse

from wonderq.cli.arguments import Parser
from wonderq.cli.client_options import count_from
from wonderq.cli.exit_codes import OK, REFUSED


def demo(command: Parser) -> None:
    """Describe `wonderq demo`."""
    command.describe(
        "Start a broker and several consumer processes, which hash every source file of Python's standard library. "
        "Kill one of these consumers and then this broker, and compare the totals with a direct count. Exit code 0 "
        "means that they are equal. The demo installs nothing, ends no process that it did not start, and works in a "
        "temporary folder.",
        _demo,
    )
    command.add_argument(
        "--files", metavar="N", type=count_from(100), help="number of files, at least 100 (default: all)"
    )
    command.add_argument(
        "--consumers",
        metavar="N",
        type=count_from(2),
        default=3,
        help="number of consumer processes, at least 2 (default 3)",
    )
    command.add_argument(
        "--stay",
        action="store_true",
        help="then run the broker with the queues of a small shop until Ctrl-C, so that you can look at its dashboard",
    )
    command.add_argument("--keep", action="store_true", help="keep the broker's folder for inspection")


def _demo(options: argparse.Namespace) -> int:
    from wonderq.demo.run import run  # noqa: PLC0415 - only this command needs it

    equal = run(files=options.files, consumers=options.consumers, keep=options.keep, stay=options.stay)
    return OK if equal else REFUSED
