"""Asking before a command destroys something."""

from __future__ import annotations

import argparse
import sys

from wonderq.cli.arguments import UsageError
from wonderq.terminal import is_terminal, printable


class DeclinedError(Exception):
    """A person answered no."""


def confirm(options: argparse.Namespace, deed: str) -> None:
    """Ask on a terminal whether to do a deed, such as "delete the queue mail". ``--yes`` is the answer.

    Raises:
        UsageError: nobody can be asked, because standard input is not a terminal.
        DeclinedError: the answer is not yes.
    """
    if options.yes:
        return
    if not is_terminal(sys.stdin):
        raise UsageError(f"this would {deed}. Nothing was done. Repeat the command with --yes to confirm it")
    print(f"This will {printable(deed)}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise DeclinedError("nothing was done")
