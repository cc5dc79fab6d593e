"""Blocks of Python code in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(page: str) -> dict[str, list[str]]:
    """Return the Python blocks of a page, by the title of the section they are in."""
    _, *parts = re.split(r"^## (.*)\n", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = zip(parts[::2], parts[1::2], strict=True)
    found = {title: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for title, text in sections}
    return {title: blocks for title, blocks in found.items() if blocks}


def run_section(page: str, title: str, **names: Any) -> dict[str, Any]:
    """Run the blocks of a section in their order, with some names defined before; return all names after."""
    for number, block in enumerate(blocks_of(page)[title], 1):
        exec(compile(block, f"docs/{page}, block {number} of {title!r}", "exec", dont_inherit=True), names)
    return names
