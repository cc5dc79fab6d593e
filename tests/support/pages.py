"""Sections of the documentation: their blocks of Python code, and their commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.document_blocks import Kind, read

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(page: str) -> dict[str, list[str]]:
    """Return the Python blocks of a page, by the title of the section they are in."""
    found = {
        title: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for title, text in _sections_of(page).items()
    }
    return {title: blocks for title, blocks in found.items() if blocks}


def commands_of(page: str, title: str) -> list[str]:
    """Return the commands of a section that a reader types."""
    blocks = read(_sections_of(page)[title], page)
    return [command.text for block in blocks if block.kind is Kind.RUN for command in block.commands]


def _sections_of(page: str) -> dict[str, str]:
    _, *parts = re.split(r"^## (.*)\n", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def run_section(page: str, title: str, **names: Any) -> dict[str, Any]:
    """Run the blocks of a section in their order, with some names defined before; return all names after."""
    for number, block in enumerate(blocks_of(page)[title], 1):
        exec(compile(block, f"docs/{page}, block {number} of {title!r}", "exec", dont_inherit=True), names)
    return names
