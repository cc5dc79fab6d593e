"""Running the blocks of a page in their order."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from tests.documents.output import Names
from tests.documents.terminal import Terminal
from tests.support.document_blocks import Block, Command, Kind, blocks_of

_INSTALLS = re.compile(r"^(python3? -m )?(pip|pipx|uv|uvx) ")
_STARTS_A_BROKER = re.compile(r"(wonderq |make )?serve\b")


class MissingProgramError(Exception):
    """A program or a module that a page needs is not installed."""


def run_page(path: Path, folder: Path) -> int:
    """Run the blocks of a page in a new terminal, and return the number of commands that ran.

    A page gets a broker at its beginning, unless its first command starts one.

    Raises:
        AssertionError: a command failed, or printed something else than the page shows.
        MissingProgramError: the rest of the page needs programs that are not installed.
    """
    blocks = [each for each in blocks_of(path) if each.kind in (Kind.RUN, Kind.HIDDEN, Kind.FILE)]
    count, names = 0, Names()
    with Terminal(folder) as terminal:
        first = next((each.text for block in blocks for each in block.commands if not _INSTALLS.match(each.text)), "")
        if first and not _STARTS_A_BROKER.match(first):
            terminal.run("serve")
        for block in blocks:
            if missing := [each for each in block.needs if not (shutil.which(each) or find_spec(each))]:
                raise MissingProgramError(f"{path.name}:{block.line} needs {', '.join(missing)}")
            if block.kind is Kind.FILE:
                terminal.write(block.file, block.text)
            for command in block.commands:
                if not _INSTALLS.match(command.text):
                    _run(terminal, names, block, command, f"{path.name}:{command.line}")
                    count += 1
    return count


def installs_of(block: Block) -> list[str]:
    """Return the commands of a block that install packages. Tests compare them with pyproject.toml, and do not run them."""
    return [each.text for each in block.commands if _INSTALLS.match(each.text)]


def _run(terminal: Terminal, names: Names, block: Block, command: Command, place: str) -> None:
    code, printed = terminal.run(names.in_command(command.text))
    expected = block.exit_code if command is block.commands[-1] else 0
    shown = "\n".join(printed[-40:])
    assert code == expected, f"{place}: {command.text}\nended with exit code {code}:\n{shown}"
    if command.output and any(line.strip() for line in command.output):
        difference = names.difference(command.output, printed, figures_vary=block.figures_vary)
        assert not difference, f"{place}: {command.text}\n{difference}"
