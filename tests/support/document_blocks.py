"""The blocks of a page of documentation that a reader types, and the comments that say how a test runs them.

A block is one for a terminal if it is fenced as `console`, or indented and begins with a prompt or a command. A pattern such as
`wonderq folder verify DIR [--json]` is compared with the program instead, and so are commands of the repository, such as `make bench`. A
comment in the Markdown, which readers do not see, may stand before a block:

| comment | meaning |
|---|---|
| `<!-- test: skip: REASON -->` | the next block is not run |
| `<!-- test: synopsis -->` | the next block is not run, but its options are compared with the program |
| `<!-- test: figures vary -->` | numbers in the output of the next block are compared as numbers only |
| `<!-- test: exit code N -->` | the last command of the next block ends with this code |
| `<!-- test: write FILE -->` | the next block, in any language, is a file |
| `<!-- test: run` lines `-->` | runs commands in place of something that the page asks for in words |
| `<!-- test: needs NAMES` lines `-->` | the same, if these programs and modules are there; else the page is skipped from here on |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: First words of indented blocks for a terminal.
_PROGRAMS = re.compile(
    r"\$|aws|caddy|cd|celery|curl|docker|export|git|install|kubectl|make|mkdir|nginx|pip|pipx|printf|python3?|runuser|systemctl"
    r"|useradd|uv|uvx|wonderq"
)
#: A pattern of commands rather than a command: `wonderq worker MODULE:APP [options]`.
_SYNOPSIS = re.compile(r"wonderq [^#|]* (\[|\()")
#: Commands for contributors, which take minutes or change the clone.
_OF_THE_REPOSITORY = re.compile(r"(\$ )?(make (?!serve)|python -m (benchmarks|tests)\.)")
_MARKER = re.compile(r"^<!-- test: (.*?)\s*-->$", re.DOTALL)


class DocumentError(AssertionError):
    """A page that cannot be read as a test; the message names the page and the line."""


class Kind(Enum):
    """Treatment of a block."""

    RUN = "run"
    HIDDEN = "run, and not shown"
    FILE = "written to a file"
    SYNOPSIS = "compared with the options of the program"
    REPOSITORY = "compared with the Makefile and the modules"
    SKIP = "not run"


@dataclass
class Command:
    """One command, and the output that the page shows after it."""

    text: str
    line: int
    output: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A block of a page."""

    kind: Kind
    line: int
    text: str = ""
    commands: list[Command] = field(default_factory=list)
    reason: str = ""
    """Why it is not run."""
    file: str = ""
    """Name of the file that it is."""
    needs: list[str] = field(default_factory=list)
    """Programs and Python modules without which it, and all blocks after it, cannot run."""
    figures_vary: bool = False
    exit_code: int = 0


def pages() -> list[Path]:
    """Return the pages of documentation, sorted."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page that a test runs, writes, compares or skips, in their order.

    Raises:
        DocumentError: a comment is not one of those above, or no block follows it.
    """
    return list(read(path.read_text(encoding="utf-8"), path.name))


def read(text: str, name: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown text; see `blocks_of`."""
    markers: list[tuple[int, str]] = []
    for line, kind, lines in _parts(text):
        if kind == "comment":
            marker = _MARKER.match("\n".join(lines))
            if marker is None:
                continue
            first, _, rest = marker[1].partition("\n")
            if first == "run" or first.startswith("needs "):
                commands = [Command(rest, line)] if rest else []
                yield Block(Kind.HIDDEN, line, rest, commands, needs=first.split()[1:])
            else:
                markers.append((line, marker[1]))
        elif kind == "text":
            if markers:
                raise DocumentError(f"{name}:{markers[0][0]}: no block follows this comment")
        else:
            block = _block(kind, line, lines, [each for _, each in markers], name)
            markers = []
            if block is not None:
                yield block
    if markers:
        raise DocumentError(f"{name}:{markers[0][0]}: no block follows this comment")


def _parts(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield comments, fenced blocks (their language is the kind), indented blocks and other lines of text."""
    lines = text.splitlines()
    at, in_list = 0, False
    while at < len(lines):
        start, line = at, lines[at]
        at += 1
        if line.startswith("<!--"):
            while "-->" not in lines[at - 1]:
                at += 1
            in_list = False
            yield start + 1, "comment", lines[start:at]
        elif line.lstrip().startswith("```"):
            indent = len(line) - len(line.lstrip())
            while lines[at].strip() != "```":
                at += 1
            at += 1
            in_list = in_list and indent > 0
            yield (
                start + 1,
                line.strip().removeprefix("```") or "none",
                [each[indent:] for each in lines[start + 1 : at - 1]],
            )
        elif line.startswith("    ") and not in_list and (start == 0 or not lines[start - 1].strip()):
            while at < len(lines) and (lines[at].startswith("    ") or _continues(lines, at)):
                at += 1
            yield start + 1, "indented", [each[4:] for each in lines[start:at]]
        elif line.strip():
            in_list = bool(re.match(r"([-*]|\d+\.) ", line)) or (in_list and line.startswith(" "))
            yield start + 1, "text", [line]


def _continues(lines: list[str], at: int) -> bool:
    return not lines[at].strip() and at + 1 < len(lines) and lines[at + 1].startswith("    ")


def _block(kind: str, line: int, lines: list[str], markers: list[str], name: str) -> Block | None:
    block = Block(Kind.RUN, line, "\n".join(lines))
    for marker in markers:
        word, _, rest = marker.partition(" ")
        if marker.startswith("skip: "):
            block.kind, block.reason = Kind.SKIP, marker.removeprefix("skip: ")
        elif marker == "synopsis":
            block.kind = Kind.SYNOPSIS
        elif marker == "figures vary":
            block.figures_vary = True
        elif marker.startswith("exit code "):
            block.exit_code = int(marker.removeprefix("exit code "))
        elif word == "write" and rest:
            block.kind, block.file = Kind.FILE, rest
        else:
            raise DocumentError(f"{name}:{line}: there is no comment `test: {marker}`")
    if block.kind is Kind.FILE:
        return block
    if not (kind == "console" or (kind == "indented" and _is_for_a_terminal(lines))):
        if markers:
            raise DocumentError(f"{name}:{line}: this block is not for a terminal, so the comment has no effect")
        return None
    block.commands = list(_commands(lines, line + (kind != "indented")))
    if block.kind is Kind.RUN:
        block.kind = _kind_by_its_text(lines)
    return block


def _kind_by_its_text(lines: list[str]) -> Kind:
    if any(_SYNOPSIS.match(line) for line in lines):
        return Kind.SYNOPSIS
    commands = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return Kind.REPOSITORY if all(_OF_THE_REPOSITORY.match(each) for each in commands) else Kind.RUN


def _is_for_a_terminal(lines: list[str]) -> bool:
    return _PROGRAMS.fullmatch(lines[0].split()[0]) is not None


def _commands(lines: list[str], first: int) -> Iterator[Command]:
    """Split a block at its prompts. In a block without any, each line is a command, which prints nothing to compare."""
    if not any(line.startswith("$ ") for line in lines):
        at = first
        for text in re.split(r"(?<!\\)\n", "\n".join(lines)):
            yield Command(text, at)
            at += text.count("\n") + 1
        return
    command: Command | None = None
    for number, line in enumerate(lines, first):
        if line.startswith("$ "):
            if command is not None:
                yield command
            command = Command(line.removeprefix("$ "), number)
        elif command is None:
            raise DocumentError(f"line {number}: output before the first command")
        elif line.startswith("> ") and not command.output:
            command.text += "\n" + line.removeprefix("> ")
        elif command.text.endswith("\\") and not command.output:
            command.text += "\n" + line
        else:
            command.output.append(line)
    if command is not None:
        yield command
