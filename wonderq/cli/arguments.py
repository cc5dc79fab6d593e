"""Shared parts of the command line: the parser, verbs of a noun, and options that mean the same everywhere."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from wonderq.cli.exit_codes import EXIT_CODES, USAGE
from wonderq.terminal import printable

if TYPE_CHECKING:
    from datetime import datetime

#: A function that carries out a command and returns its exit code.
Run = Callable[[argparse.Namespace], int]

_ANY_WIDTH = 80

#: Least likeness of two options, from 0 to 1. All begin with two dashes, so they are more alike than words are.
_OPTION_CUTOFF = 0.75

Verbs = Any  # argparse has no public name for what add_subparsers returns


class UsageError(Exception):
    """The command line is valid for each argument alone, but not as a whole, or a value in it cannot be used."""


class HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions, but not the table of exit codes."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text == EXIT_CODES else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the word or option that a misspelt one resembles."""

    _is_helping = False

    def __init__(self, *, prog: str | None = None, epilog: str = EXIT_CODES, **settings: Any) -> None:
        # Without abbreviations: `serve --key KEY` would use the key as the file of --keys, and log it.
        super().__init__(prog=prog, epilog=epilog, formatter_class=HelpFormatter, allow_abbrev=False, **settings)
        self.verbs: dict[str, Parser] = {}

    def _get_formatter(self) -> argparse.HelpFormatter:
        # argparse makes one for each argument that is added, only to check it. Those must not measure the terminal.
        return HelpFormatter(self.prog, width=None if self._is_helping else _ANY_WIDTH)

    def format_help(self) -> str:
        self._is_helping = True
        return super().format_help()

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse the command line; print an error and exit if it is not valid."""
        options, unknown = self.parse_known_args(arguments)
        command: Parser = getattr(options, "parser", self)
        if unknown and not command.take(unknown, options):
            command.refuse(unknown)
        if command.verbs:
            command.error(
                "a command is missing" if command is self else f"a verb is missing: {', '.join(command.verbs)}"
            )
        return options

    def describe(self, description: str, run: Run | None = None) -> None:
        """Set the description, and what the command does. Without ``run`` it is a noun with verbs."""
        self.description = description
        self.set_defaults(run=run, parser=self)

    def take(self, words: Sequence[str], options: argparse.Namespace) -> bool:
        """Add words behind options to the last argument if it takes any number: argparse takes those in one place only.

        Returns whether it does.
        """
        last = next((each for each in reversed(self._actions) if not each.option_strings), None)
        if last is None or last.nargs not in ("*", "+") or any(word.startswith("-") for word in words):
            return False
        try:
            more = [self._get_value(last, word) for word in words]
        except argparse.ArgumentError as error:
            self.error(str(error))
        setattr(options, last.dest, [*getattr(options, last.dest), *more])
        return True

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Print that this command does not take these arguments, and exit."""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint_about(unknown[0])}")

    def _hint_about(self, unknown: str) -> str:
        """Return how an argument that this command does not take could be meant, or an empty text."""
        name = unknown.partition("=")[0]
        if name in self._option_string_actions:
            return f". Put options behind '{self.prog}'"
        if not name.startswith("--"):
            return f". Did you mean --queue {name}?" if "--queue" in self._option_string_actions else ""
        similar = did_you_mean(name, self._option_string_actions, cutoff=_OPTION_CUTOFF)
        takes_fields = any(each.dest == "fields" for each in self._actions)
        return similar or (f". Did you mean {name[2:].replace('-', '_')}=VALUE?" if takes_fields else "")

    def error(self, message: str) -> NoReturn:
        """Print an error and exit."""
        end = "" if message.endswith("?") else "."
        see = f"{message.removesuffix('.')}{end} '{self.prog} --help' explains it"
        self.exit(fail(see, USAGE, prog=self.prog))

    def hint(self, word: str) -> str:
        """Return which verb a misspelt one resembles, or an empty text."""
        from wonderq.cli.commands import WORDS  # noqa: PLC0415 - for errors alone

        if word in WORDS:
            return f". Did you mean 'wonderq {word}'?"
        return did_you_mean(word, self.verbs) or f". Its verbs: {', '.join(self.verbs)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - it has no public name
            if value not in action.choices:
                self.error(f"there is no {str(action.metavar).lower()} {value!r}{self.hint(str(value))}")
            return
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            raise argparse.ArgumentError(
                action, f"{error.message}{did_you_mean(str(value), action.choices or ())}"
            ) from error


def did_you_mean(text: str, choices: Iterable[Any], *, cutoff: float = 0.6) -> str:
    """Return a question that names the choice which a text resembles, or an empty text."""
    from difflib import get_close_matches  # noqa: PLC0415 - for errors alone

    similar = get_close_matches(text, map(str, choices), n=1, cutoff=cutoff)
    return f". Did you mean {similar[0]}?" if similar else ""


def fail(message: str, code: int, *, prog: str = "wonderq") -> int:
    """Print an error on stderr, and return the exit code."""
    note(message, prog=prog)
    return code


def note(message: str, *, prog: str = "wonderq") -> None:
    """Print a sentence for people on stderr, without characters that control a terminal."""
    if sys.stderr is not None:  # print() would take None for standard output
        with contextlib.suppress(OSError):  # without a reader, the exit code still reports the error
            print(f"{prog}: {printable(message.removesuffix('.'))}.", file=sys.stderr, flush=True)


def add_verbs(noun: Parser, description: str) -> Verbs:
    """Describe a noun, and return what `add_verb` adds its verbs to."""
    noun.describe(description)
    verbs = noun.add_subparsers(metavar="VERB", title="verbs", parser_class=Parser)
    noun.verbs = verbs.choices
    return verbs


def add_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    """Add a verb to a noun."""
    command: Parser = verbs.add_parser(name, help=summary)
    command.describe(description, run)
    return command


def add_json_option(command: Parser, what: str = "one JSON object") -> None:
    """Add the option for output that programs read."""
    command.add_argument("--json", action="store_true", help=f"print {what}")


def add_yes_option(command: Parser) -> None:
    """Add the option that confirms a command which destroys something. `confirmation.confirm` obeys it."""
    command.add_argument("--yes", action="store_true", help="do not ask; required without a terminal")


def add_key_option(command: Parser) -> None:
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
    from datetime import UTC, datetime  # noqa: PLC0415 - few commands have a time

    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time in ISO 8601, such as 2026-03-29T14:05:06.789Z"
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
