"""The page of the command line, from the parsers of its commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from tools.reference.markdown import NOTICE, sentence, table
from wonderq.cli.arguments import EXIT_CODES
from wonderq.cli.main import build_parser

_HEAD = """# Command line

This page lists each command of `wonderq`, from the program itself. `wonderq COMMAND --help` prints the same.
[Settings](settings.md) lists the options of `wonderq serve`. [Folder tools](../TOOLS.md) shows the commands for a
folder in use.
"""


def command_line() -> str:
    """Return the page."""
    parts = [NOTICE, _HEAD, "## Exit codes\n", table(("code", "meaning"), _exit_codes())]
    for name, summary, parser in commands(build_parser()):
        description = (parser.description or "").replace("<", "&lt;")
        parts += [f"## {name}\n", f"{description or sentence(summary)}\n"]
        if name == "wonderq serve":
            parts.append("Its options are the [settings](settings.md).\n")
        else:
            parts.append(table(("argument", "meaning"), _arguments(parser)))
    return "\n".join(filter(None, parts))


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield the full name, the summary and the parser of each command, without groups of commands."""
    for group in _groups(parser):
        summaries = {each.dest: each.help or "" for each in group._choices_actions}  # noqa: SLF001 - argparse has no other way
        for name, command in group.choices.items():
            if _groups(command):
                yield from commands(command)
            else:
                yield command.prog, summaries[name], command


def _groups(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001 - see above


def _exit_codes() -> list[tuple[str, str]]:
    return [(code, sentence(meaning)) for code, meaning in re.findall(r"^ +(\d+) +(.*)$", EXIT_CODES, re.MULTILINE)]


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for each in parser._actions:  # noqa: SLF001 - see above
        if each.dest == "help" or each.help == argparse.SUPPRESS:
            continue
        yield f"`{_name(each)}`", _meaning(each)


def _name(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _value(action)
    if action.option_strings:
        return f"{', '.join(action.option_strings)} {value}".strip()
    return {"*": f"[{value} ...]", "+": f"{value} ...", "?": f"[{value}]"}.get(str(action.nargs), value)


def _value(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _meaning(action: argparse.Action) -> str:
    parts = [sentence((action.help or "").replace("<", "&lt;"))]
    if action.choices is not None and action.metavar is None:
        parts.append(f"One of {', '.join(f'`{each}`' for each in action.choices)}.")
    if action.required and action.option_strings:
        parts.append("Required.")
    return " ".join(filter(None, parts))
