"""The names that docs/STABILITY.md keeps, as the pages of the reference and the Python package list them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

#: Pages with a heading for each call, command or code, and tables whose first column is a name.
PAGES = (
    *("docs/reference/command-line.md", "docs/reference/errors.md", "docs/reference/http-calls.md"),
    *("docs/reference/settings.md", "docs/METRICS.md"),
)
PACKAGE = "wonderq/__init__.py"


def names(read: Callable[[str], str]) -> set[str]:
    """Return the names of one version. ``read`` returns the text of a file of the repository in that version."""
    found = {name for page in PAGES for name in _of_page(page, read(page))}
    return found | {f"wonderq.{name}" for name in _exported(read(PACKAGE))}


def _of_page(page: str, text: str) -> Iterator[str]:
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
            yield f"{page}, {heading}"
        elif row := re.match(r"\| `\[?([^`\s\]]+)", line):
            yield f"{page}, {heading}, {row[1]}"


def _exported(source: str) -> list[str]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []
