"""Write the pages of docs/reference that are made from the program: `make reference`.

A test fails while one is out of date.
"""

from __future__ import annotations

from pathlib import Path

from tools.reference.command_line import command_line
from tools.reference.errors import errors
from tools.reference.http_calls import http_calls
from tools.reference.settings import settings

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

#: Each page, and the function that makes it.
PAGES = {
    "command-line.md": command_line,
    "errors.md": errors,
    "http-calls.md": http_calls,
    "settings.md": settings,
}


def main() -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
