"""Encoding of message headers: a status line such as ``NATS/1.0 404 Not Found``, then lines as in HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from wonderq_storage.nats.errors import ProtocolError

_VERSION = b"NATS/1.0"
_NAME = re.compile(rb"[!-9;-~]+")


class Headers(NamedTuple):
    """Parsed headers of a message."""

    status: int
    """Status code, or 0 without one."""
    description: str
    fields: dict[str, str]
    """Values by name. The last of several values with one name counts."""


NO_HEADERS = Headers(0, "", {})


def encode_headers(fields: Mapping[str, str]) -> bytes:
    """Encode headers.

    Raises:
        ValueError: a name or a value contains bytes that would end its line.
    """
    lines = [_VERSION]
    for name, value in fields.items():
        line = f"{name}: {value}".encode()
        if not _NAME.fullmatch(name.encode()) or b"\r" in line or b"\n" in line:
            raise ValueError(f"{name!r} is no header that can be sent")
        lines.append(line)
    return b"\r\n".join([*lines, b"", b""])


def parse_headers(data: bytes) -> Headers:
    """Parse the headers of a received message; without any, ``data`` is empty.

    Raises:
        ProtocolError: the bytes are no headers.
    """
    if not data:
        return NO_HEADERS
    if not data.startswith(_VERSION) or not data.endswith(b"\r\n\r\n"):
        raise ProtocolError("the headers of a message are malformed")
    first, *lines = data[:-4].split(b"\r\n")
    status, _, description = first[len(_VERSION) :].strip().partition(b" ")
    if status and not (status.isdigit() and len(status) == 3):
        raise ProtocolError("the status of a message is malformed")
    fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise ProtocolError("a header of a message is malformed")
        fields[name.decode("ascii")] = value.strip().decode("utf-8", "replace")
    return Headers(int(status or 0), description.strip().decode("utf-8", "replace"), fields)
