"""Write the files that are made from the program: `make reference`.

These are pages of docs/reference, and the man pages and completion scripts in wonderq/share. A test fails while one is
out of date.
"""

from __future__ import annotations

from pathlib import Path

from tools.reference.command_line import command_line
from tools.reference.completion import completions
from tools.reference.errors import errors
from tools.reference.http_calls import http_calls
from tools.reference.man_pages import man_pages
from tools.reference.settings import settings

SHARE = Path(__file__).parents[2] / "wonderq" / "share"

#: The files of each folder in `SHARE`, by name.
SHARED = {"man/man1": man_pages, "completion": completions}

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

#: Each page, and the function that makes it.
PAGES = {
    "command-line.md": command_line,
    "errors.md": errors,
    "http-calls.md": http_calls,
    "settings.md": settings,
}


def main() -> None:
    """Write all files, and remove those of commands that no longer exist."""
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    for folder, make_files in SHARED.items():
        files = make_files()
        for path in (SHARE / folder).iterdir():
            if path.name not in files:
                path.unlink()
        for name, text in files.items():
            (SHARE / folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
