"""The NATS client protocol, without I/O: `Parser` turns received bytes into events, functions encode what is sent.

Each operation is a line that ends with CR LF. The headers and the payload of a message follow its line, MSG or HMSG,
which has their sizes. See https://docs.nats.io/reference/protocols/client.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from wonderq_storage.nats.errors import ProtocolError

#: Size above which a message is refused. A server's largest `max_payload` is 64 MiB, headers included.
MAX_MESSAGE_BYTES = 65 << 20

#: Size above which a line is refused. An INFO of a large cluster lists all servers.
MAX_LINE_BYTES = 64 << 10

_MAX_DIGITS = 9
_SUBJECT = re.compile(r"[^\s\0-\x1f\x7f]+")


class Info(NamedTuple):
    """The server describes itself."""

    fields: dict[str, Any]


class Delivery(NamedTuple):
    """A message for a subscription."""

    subject: str
    headers: bytes
    """Encoded headers, or nothing."""
    payload: bytes
    reply_to: str = ""
    """Subject for the answer, or nothing if none is expected."""


class Ping(NamedTuple):
    """The server asks whether the client is alive."""


class Pong(NamedTuple):
    """The answer to the client's PING."""


class Failure(NamedTuple):
    """The server reports an error, and may close the connection."""

    text: str


Event = Info | Delivery | Ping | Pong | Failure


class _Head(NamedTuple):
    """The line of a message that has not arrived completely."""

    subject: str
    headers_bytes: int
    total_bytes: int
    reply_to: str


class Parser:
    """Parser of the bytes of one connection. It holds at most one message that is incomplete."""

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._at = 0  # everything before it is parsed
        self._searched = 0  # no line ends before it
        self._head: _Head | None = None

    @property
    def held_bytes(self) -> int:
        """Size of what was received and is not parsed yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Add received bytes, and return the events that are complete now.

        Raises:
            ProtocolError: the bytes are not what a NATS server sends. The parser is of no further use.
        """
        self._buffer += data
        events: list[Event] = []
        while self._read_line(events) if self._head is None else self._read_message(self._head, events):
            pass
        if self._at:
            del self._buffer[: self._at]
            self._searched -= self._at
            self._at = 0
        return events

    def _read_message(self, head: _Head, events: list[Event]) -> bool:
        middle, end = self._at + head.headers_bytes, self._at + head.total_bytes
        if len(self._buffer) < end + 2:
            return False
        if self._buffer[end : end + 2] != b"\r\n":
            raise ProtocolError("a message is longer than its line said")
        with memoryview(self._buffer) as view:
            headers, payload = bytes(view[self._at : middle]), bytes(view[middle:end])
        self._at = self._searched = end + 2
        self._head = None
        events.append(Delivery(head.subject, headers, payload, head.reply_to))
        return True

    def _read_line(self, events: list[Event]) -> bool:
        end = self._buffer.find(b"\r\n", max(self._searched - 1, self._at))
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) - self._at > MAX_LINE_BYTES:
                raise ProtocolError("a line of the server does not end")
            return False
        line = bytes(self._buffer[self._at : end])
        if len(line) > MAX_LINE_BYTES:
            raise ProtocolError("a line of the server is too long")
        self._at = self._searched = end + 2
        if (event := self._interpret(line)) is not None:
            events.append(event)
        return True

    def _interpret(self, line: bytes) -> Event | None:
        operation, *rest = line.split(None, 1) or [b""]
        arguments = rest[0] if rest else b""
        match operation.upper():
            case b"MSG" | b"HMSG":
                self._head = self._read_head(operation.upper() == b"HMSG", arguments.split())
                return None
            case b"PING":
                return Ping()
            case b"PONG":
                return Pong()
            case b"+OK":
                return None
            case b"-ERR":
                return Failure(arguments.strip().strip(b"'").decode("utf-8", "replace"))
            case b"INFO":
                return Info(_read_info(arguments))
        raise ProtocolError(f"{line[:40]!r} is no operation of NATS")

    def _read_head(self, has_headers: bool, fields: list[bytes]) -> _Head:
        """Read ``subject sid [reply] [headers_bytes] total_bytes``."""
        sizes = fields[-2:] if has_headers else [b"0", *fields[-1:]]
        if len(fields) - has_headers not in (3, 4) or not all(_is_number(each) for each in (fields[1], *sizes)):
            raise ProtocolError("the line of a message is malformed")
        headers_bytes, total_bytes = map(int, sizes)
        if not headers_bytes <= total_bytes <= self._max_message_bytes:
            raise ProtocolError(f"a message of {total_bytes:,} bytes is larger than {self._max_message_bytes:,}")
        try:
            reply_to = fields[2].decode() if len(fields) - has_headers == 4 else ""
            return _Head(fields[0].decode(), headers_bytes, total_bytes, reply_to)
        except UnicodeDecodeError as error:
            raise ProtocolError("the subject of a message is not UTF-8") from error


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MAX_DIGITS


def _read_info(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the server's INFO is not JSON") from error
    if not isinstance(fields, dict):
        raise ProtocolError("the server's INFO is not a JSON object")
    return fields


PING = b"PING\r\n"
PONG = b"PONG\r\n"


def connect(options: dict[str, Any]) -> bytes:
    """Encode CONNECT, the client's answer to INFO."""
    return b"CONNECT " + json.dumps(options).encode() + b"\r\n"


def subscribe(subject: str, subscription: int) -> bytes:
    """Encode SUB, which asks for the messages of a subject."""
    return f"SUB {checked_subject(subject)} {subscription}\r\n".encode()


def publish(subject: str, reply_to: str | None, headers: bytes, payload: bytes) -> bytes:
    """Encode PUB or HPUB, which sends a message. ``headers`` are encoded, or empty; ``reply_to`` may be None."""
    sizes = f"{len(headers)} {len(headers) + len(payload)}" if headers else f"{len(payload)}"
    subjects = checked_subject(subject)
    if reply_to is not None:
        subjects += f" {checked_subject(reply_to)}"
    line = f"{'HPUB' if headers else 'PUB'} {subjects} {sizes}\r\n"
    return b"".join((line.encode(), headers, payload, b"\r\n"))


def checked_subject(text: str) -> str:
    """Return a subject unchanged.

    Raises:
        ValueError: it is empty, or contains spaces or control characters, which would end it on the wire.
    """
    if not _SUBJECT.fullmatch(text):
        raise ValueError(f"{text!r} is no subject of NATS")
    return text
