"""Parts of Markdown that the pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: First line of each page.
NOTICE = "<!-- `make reference` writes this page from the program. Do not edit it. -->\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or an empty text if it has no rows."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(columns), "|---" * len(columns) + "|", *lines]) + "\n" if lines else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning and a full stop at its end."""
    text = text.strip()
    return text if not text else text[0].upper() + text[1:] + ("" if text.endswith((".", ":")) else ".")
