"""Shared parts of the command line: exit codes, adding commands, printing errors."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NoReturn

from wonderq.terminal import printable

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
  2    wrong usage, or an invalid setting
  3    the broker cannot be reached
  4    there was nothing to receive
  130  interrupted (Ctrl-C)
  141  the reader of the output closed the pipe
"""

Subparsers = Any  # argparse has no public name for what add_subparsers returns


class Parser(argparse.ArgumentParser):
    """A parser that suggests the command, choice or option that a misspelt one resembles."""

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse the command line; print an error and exit if it is not valid."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            command: Parser = getattr(options, "parser", self)
            command.refuse(unknown)
        return options

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Print that this command does not take these arguments, and exit."""
        names = [each.partition("=")[0] for each in unknown if each.startswith("--")]
        hints = "".join(_did_you_mean(name, self._option_string_actions) for name in names)
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hints}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            raise argparse.ArgumentError(
                action, f"{error.message}{_did_you_mean(str(value), action.choices or ())}"
            ) from error


def _did_you_mean(text: str, choices: Iterable[Any]) -> str:
    similar = get_close_matches(text, map(str, choices), n=1)
    return f". Did you mean {similar[0]}?" if similar else ""


def fail(message: str, code: int) -> int:
    """Print an error on stderr, and return the exit code."""
    if sys.stderr is not None:  # print() would take None for standard output
        with contextlib.suppress(OSError):  # without a reader, the exit code still reports the error
            print(f"wonderq: {printable(message.removesuffix('.'))}.", file=sys.stderr, flush=True)
    return code


def add_command(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int] | None, summary: str, description: str
) -> argparse.ArgumentParser:
    """Add a command. Without ``run`` it is a group of commands."""
    command: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,  # or `serve --key KEY` would use the key as the file of --keys, and log it
    )
    command.set_defaults(run=run, parser=command)
    return command


def add_key_option(command: argparse.ArgumentParser) -> None:
    """Add the option for the API key."""
    command.add_argument(
        "--key",
        metavar="KEY",
        help="API key, if the broker requires one (WONDERQ_KEY is safer: it does not appear in the process list)",
    )


def key_from(options: argparse.Namespace) -> str | None:
    """Return the API key from the option or, without it, from the environment."""
    key: str | None = options.key
    return os.environ.get("WONDERQ_KEY") or None if key is None else key


def text_from(argument: str) -> str:
    """Parse text. An argument whose bytes the locale cannot decode is taken as UTF-8."""
    try:
        return bytes_from(argument).decode()
    except UnicodeError as error:
        raise argparse.ArgumentTypeError("is not UTF-8: pass it as text") from error


def bytes_from(argument: str) -> bytes:
    """Return an argument in UTF-8, or as it was passed if the locale cannot decode it."""
    try:
        return argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument)


def time_from(text: str) -> datetime:
    """Parse a time; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time in ISO 8601, such as 2026-03-29T14:05:06.789Z"
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions, but not the table of exit codes."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text == EXIT_CODES else super()._fill_text(text, width, indent)
