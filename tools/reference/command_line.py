"""The page of the command line, from the parsers of its commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tools.reference.markdown import NOTICE, sentence, table
from wonderq.cli.arguments import Parser
from wonderq.cli.exit_codes import MEANINGS
from wonderq.cli.main import build_parser

_HEAD = """# Command line

This page lists each command of `wonderq`, from the program itself. `wonderq COMMAND --help` and `man wonderq-COMMAND`
have the same. [The grammar of the command line](../CLI.md) explains what all commands share. [Settings](settings.md)
lists the options of `wonderq serve`. [Folder tools](../TOOLS.md) shows the commands for a folder in use.
"""


def command_line() -> str:
    """Return the page."""
    parts = [NOTICE, _HEAD, "## Exit codes\n", exit_codes()]
    for name, summary, parser in commands(build_parser()):
        description = (parser.description or "").replace("<", "&lt;")
        parts += [f"## {name}\n", f"{description or sentence(summary)}\n"]
        if name == "wonderq serve":
            parts.append("Its options are the [settings](settings.md).\n")
        else:
            parts.append(table(("argument", "meaning"), _rows(parser)))
    return "\n".join(filter(None, parts))


def exit_codes() -> str:
    """Return the table of exit codes."""
    return table(("code", "meaning"), [(str(code), sentence(meaning)) for code, meaning in MEANINGS.items()])


def commands(parser: Parser) -> Iterator[tuple[str, str, Parser]]:
    """Yield the full name, the summary and the parser of each command, without nouns."""
    for _, summary, command in subcommands_of(parser):
        if command.verbs:
            yield from commands(command)
        else:
            yield command.prog, summary, command


def subcommands_of(parser: Parser) -> Iterator[tuple[str, str, Parser]]:
    """Yield the name, the summary and the parser of each command or verb that a parser has."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - see above
            summaries = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001 - see above
            yield from ((name, summaries[name], command) for name, command in parser.verbs.items())


def arguments_of(parser: Parser) -> Iterator[argparse.Action]:
    """Yield the arguments and options of a command, without its help."""
    for each in parser._actions:  # noqa: SLF001 - see above
        hidden = each.dest == "help" or each.help == argparse.SUPPRESS
        if not hidden and not isinstance(each, argparse._SubParsersAction):  # noqa: SLF001 - see above
            yield each


def _rows(parser: Parser) -> Iterator[tuple[str, str]]:
    for each in arguments_of(parser):
        yield f"`{argument_name(each)}`", meaning_of(each).replace("<", "&lt;")


def argument_name(action: argparse.Action) -> str:
    """Return an argument as a synopsis shows it."""
    value = "" if action.nargs == 0 else _value(action)
    if action.option_strings:
        return f"{', '.join(action.option_strings)} {value}".strip()
    return {"*": f"[{value} ...]", "+": f"{value} ...", "?": f"[{value}]"}.get(str(action.nargs), value)


def _value(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def meaning_of(action: argparse.Action) -> str:
    """Return the help of an argument, and its choices."""
    parts = [sentence(action.help or "")]
    if action.choices is not None and action.metavar is None:
        parts.append(f"One of {', '.join(f'`{each}`' for each in action.choices)}.")
    if action.required and action.option_strings:
        parts.append("Required.")
    return " ".join(filter(None, parts))
