"""The command `wonderq demo`."""

from __future__ import annotations

import argparse

from wonderq.cli.arguments import (
    OK,
    REFUSED,
    Subparsers,
    add_command,
)
from wonderq.cli.client_options import count_from

# Commands of their own


def add_to(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "demo",
        _demo,
        "watch a broker work, be killed, and lose nothing",
        "Start a broker, let several consumer processes hash every source file of Python's standard library, kill one of "
        "them and then the broker itself, and compare the totals with a direct count. Exit code 0 means that they are equal.",
    )
    command.add_argument(
        "--files", metavar="N", type=count_from(100), help="take so many of the files, at least 100 (default: all)"
    )
    command.add_argument(
        "--consumers", metavar="N", type=count_from(2), default=3, help="consumer processes, at least 2 (default 3)"
    )
    command.add_argument("--keep", action="store_true", help="keep the broker's folder, to look at it")


def _demo(options: argparse.Namespace) -> int:
    from wonderq.demo.run import run  # noqa: PLC0415 - only this command needs it

    return OK if run(files=options.files, consumers=options.consumers, keep=options.keep) else REFUSED
