"""The completion scripts of shells, from the parsers of the command line."""

from __future__ import annotations

import shtab

from tools.reference.command_line import arguments_of, subcommands_of
from wonderq.cli.arguments import Parser
from wonderq.cli.completion import SCRIPTS
from wonderq.cli.main import build_parser

#: How shells complete the values that are named so.
_VALUES = dict.fromkeys(("DIR", "SOURCE", "DEST", "BACKUP", "NEW"), shtab.DIRECTORY) | {"FILE": shtab.FILE}


def completions() -> dict[str, str]:
    """Return each script by the name of its file."""
    root = build_parser()
    _prepare(root)
    return {name: shtab.complete(root, shell) for shell, name in SCRIPTS.items()}


def _prepare(parser: Parser) -> None:
    """Have shells show the summary of a command instead of its description, and complete folders and files."""
    for action in arguments_of(parser):
        if action.metavar in _VALUES:
            action.complete = _VALUES[str(action.metavar)]  # type: ignore[attr-defined] # where shtab looks for it
    for _, summary, command in subcommands_of(parser):
        command.description = summary
        _prepare(command)
