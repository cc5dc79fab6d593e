"""Responses with an array of many objects, joined from pieces.

Objects that differ in few fields are encoded once, and cut at these fields (`Template`). So many of them cost one join,
without an object for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import falcon

from wonderq.httpd.errors import JSON, MSGPACK, encode_json
from wonderq.httpd.room import LARGE_RESPONSE_BYTES, RESPONSE_SHARE, ResponseShare
from wonderq.rest.bodies import accepts_msgpack, encode_msgpack
from wonderq.runtime.fibers import took

#: From this many objects on, a template is faster than an object for each.
MANY = 5

#: Steps of `took` for a value that is encoded on its own.
_STEPS_PER_VALUE = 8

#: Size from which on pieces of a large response are sent together.
_PART_BYTES = 1 << 18


class Format(NamedTuple):
    """A format of responses."""

    media_type: str
    encode: Callable[[Any], bytes]
    begin: Callable[[int], bytes]
    """Returns the bytes before the first value of an array, given the number of its values."""
    separator: bytes
    """Bytes between two values of an array."""
    end: bytes
    """Bytes after the last value of an array."""
    newline: bytes
    """Bytes after the response."""

    def around(self, value: Any) -> tuple[bytes, bytes]:
        """Return the encoding of a value before and after the first empty array in it."""
        before, _, after = self.encode(value).partition(self.encode([]))
        return before, after


JSON_FORMAT = Format(JSON, encode_json, lambda _: b"[", b",", b"]", b"\n")
MSGPACK_FORMAT = Format(
    MSGPACK, encode_msgpack, lambda count: encode_msgpack([None] * count)[: -count or None], b"", b"", b""
)


def format_of(req: falcon.Request) -> Format:
    """Return the format that the client accepts."""
    return MSGPACK_FORMAT if accepts_msgpack(req) else JSON_FORMAT


class Template:
    """The encoding of an object, cut at the fields in which the objects of an array differ."""

    def __init__(self, form: Format, value: Any, *stand_ins: bytes) -> None:
        """``stand_ins`` are bytes of the encoded value, in order. Others take their place in each object."""
        self._parts: list[bytes] = []
        rest = form.encode(value)
        for each in stand_ins:
            part, found, rest = rest.partition(each)
            assert found
            self._parts.append(part)
        self._end = rest
        self._between = rest + form.separator + self._parts[0]

    def fill(self, *columns: Iterable[bytes]) -> list[bytes]:
        """Return the pieces of objects, with separators between them. Each column is for one of the stand-ins."""
        first, *others = self._parts
        parts = zip(columns, map(repeat, (*others, self._between)), strict=True)
        pieces = [first, *chain.from_iterable(zip(*chain.from_iterable(parts), strict=False))]
        pieces[-1] = self._end
        return pieces


def render_pieces(req: falcon.Request, resp: falcon.Response, form: Format, *pieces: bytes) -> None:
    """Set the response to what the pieces make together."""
    pieces = (*pieces, form.newline)
    resp.content_type = form.media_type
    size = sum(map(len, pieces))
    if size <= LARGE_RESPONSE_BYTES:
        resp.data = b"".join(pieces)
        return
    # Joining all would take many milliseconds. The server gives others their turn between two parts.
    share: ResponseShare | None = req.env.get(RESPONSE_SHARE)
    if share is not None:
        share.fit(size)
    resp.content_length = size
    resp.stream = _parts(pieces)


def render_array(req: falcon.Request, resp: falcon.Response, values: Iterable[Any]) -> None:
    """Set the response to an array, whose values are made and encoded in turns."""
    form = format_of(req)
    pieces: list[bytes] = []
    for value in values:
        pieces += (form.encode(value), form.separator)
        took(_STEPS_PER_VALUE)
    render_pieces(req, resp, form, form.begin(len(pieces) // 2), *pieces[:-1], form.end)


def _parts(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Join pieces to larger parts."""
    part: list[bytes] = []
    size = 0
    for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size >= _PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    yield b"".join(part)
