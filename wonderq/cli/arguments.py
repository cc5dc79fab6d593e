"""What the parts of the command line share: exit codes, how a command is added, how it complains."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

# Exit codes.
OK = 0
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
NOTHING = 4
INTERRUPTED = 130
PIPE_CLOSED = 141

EXIT_CODES = """exit codes:
  0    done
  1    refused, or not all of it was done
  2    wrong usage, or a setting that cannot be used
  3    the broker could not be reached
  4    there was nothing to receive
  130  interrupted (Ctrl-C)
  141  whoever read the output has closed it
"""

Subparsers = Any  # argparse has no public name for what add_subparsers returns


def fail(message: str, code: int) -> int:
    """Say on stderr what is wrong; returns the exit code."""
    if sys.stderr is not None:  # to print, None means standard output
        with contextlib.suppress(OSError):  # if nobody can read it, the code still says it
            print(f"wonderq: {message.removesuffix('.')}.", file=sys.stderr, flush=True)
    return code


def add_command(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int] | None, summary: str, description: str
) -> argparse.ArgumentParser:
    """Add a command; without ``run`` it is one that has commands itself."""
    command: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,  # or `serve --key KEY` would take the key for the file of --keys, and say it in its log
    )
    command.set_defaults(run=run)
    return command


def add_key_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--key",
        metavar="KEY",
        help="the API key, if the broker asks for one (better: WONDERQ_KEY, which is not in the list of processes)",
    )


def key_from(options: argparse.Namespace) -> str | None:
    key: str | None = options.key
    return os.environ.get("WONDERQ_KEY") or None if key is None else key


def time_from(text: str) -> datetime:
    """Read an argument that is a time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in ISO 8601, as 2026-03-29T14:05:06.789Z") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps the description, and leaves the table of exit codes as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text == EXIT_CODES else super()._fill_text(text, width, indent)
