"""Standard output: results for programs in UTF-8, and for a terminal without characters that control it.

A message could otherwise clear the screen, change the title of the window, or reverse the order of other text.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

from wonderq.terminal import is_terminal, printable


def set_up_output() -> None:
    """Let standard output be UTF-8 unless it is a terminal, which has the encoding of the locale.

    Characters that cannot be encoded, such as those of file names that are not text, are escaped.
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding=None if is_terminal(out) else "utf-8", errors="backslashreplace")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines for people, and flush them."""
    escape = is_terminal(sys.stdout)
    for line in lines:
        print(printable(line) if escape else line)
    sys.stdout.flush()


def print_object(value: Any) -> None:
    """Print an object for people, as JSON on several lines."""
    import json  # noqa: PLC0415 - few commands need it

    print_lines(json.dumps(value, indent=2, ensure_ascii=False).split("\n"))


def write_lines(lines: Iterable[bytes]) -> None:
    """Write lines of UTF-8, which may contain messages, and flush them."""
    if is_terminal(sys.stdout):
        print_lines(line.decode(errors="replace") for line in lines)
        return
    _write(b"".join(line + b"\n" for line in lines))
    sys.stdout.buffer.flush()


def write_json(objects: Iterable[Any]) -> None:
    """Write each object as a line of JSON, one at a time, and flush them."""
    from msgspec.json import encode  # noqa: PLC0415 - most commands print text

    if is_terminal(sys.stdout):
        print_lines(encode(each).decode() for each in objects)
        return
    for each in objects:
        _write(encode(each) + b"\n")
    sys.stdout.buffer.flush()


def print_result(value: Any, *, as_json: bool) -> None:
    """Print one object: for programs as a line of JSON, and for people on several lines."""
    if as_json:
        write_json([value])
    else:
        print_object(value)


def _write(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[sys.stdout.buffer.write(left) :]  # with PYTHONUNBUFFERED a write may be partial
