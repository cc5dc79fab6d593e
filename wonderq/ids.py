"""Message ids and receipts: opaque to clients, decoded in constant time, refused when made up.

An id is a UUID of version 8 (RFC 9562: "custom"), whose 122 free bits are ``check | queue number | sequence``
put through a secret affine map (times an odd number, plus another). That scatters every bit upwards, so of the ids that
somebody makes up or mistypes one in 2**42 decodes to the right check. It guards against mistakes and other brokers' ids;
it is not a password.

A receipt is an id and the token of one claim, in 40 hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SEQUENCE_BITS = 48
_QUEUE_BITS = 32
_ID_BITS = 122
_MODULUS = 1 << _ID_BITS
_CHECK_SHIFT = _SEQUENCE_BITS + _QUEUE_BITS
_CHECK_BITS = _ID_BITS - _CHECK_SHIFT

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_RECEIPT_BYTES = 20
_RECEIPT_FORMAT = "%032x%08x"


def _id(n: int) -> str:
    return "%08x-%04x-8%03x-%04x-%012x" % (  # noqa: UP031 - twice as fast as format() here
        n >> 90,
        n >> 74 & 0xFFFF,
        n >> 62 & 0xFFF,
        0x8000 | n >> 48 & 0x3FFF,
        n & 0xFFFF_FFFF_FFFF,
    )


class Ids:
    """Ids of one log, made from the 16 random bytes of its identity record."""

    def __init__(self, key: bytes) -> None:
        secret = int.from_bytes(key * 2, "big")
        self._factor = secret % _MODULUS | 1
        self._inverse = pow(self._factor, -1, _MODULUS)
        self._addend = (secret >> 64) % _MODULUS
        self._check = (secret >> 32) % (1 << _CHECK_BITS)
        self._mark = self._check << _CHECK_SHIFT

    def _encode(self, queue: int, sequence: int) -> int:
        return ((self._mark | queue << _SEQUENCE_BITS | sequence) * self._factor + self._addend) % _MODULUS

    def message_id(self, queue: int, sequence: int) -> str:
        return _id(self._encode(queue, sequence))

    def message_ids(self, queue: int, first: int, count: int) -> list[str]:
        """Return the ids of messages that follow one another."""
        ids = []
        n = self._encode(queue, first)
        for _ in range(count):
            ids.append(_id(n))
            n += self._factor
            if n >= _MODULUS:
                n -= _MODULUS
        return ids

    def receipt(self, queue: int, sequence: int, token: int) -> str:
        return _RECEIPT_FORMAT % (self._encode(queue, sequence), token)

    def ids_and_receipts(self, queue: int, sequences: Iterable[int], token: int) -> list[tuple[str, str]]:
        """Return the id and the receipt of each message that was claimed with a token."""
        base, factor = self._encode(queue, 0), self._factor
        both = []
        for sequence in sequences:
            n = (base + sequence * factor) % _MODULUS
            both.append((_id(n), _RECEIPT_FORMAT % (n, token)))
        return both

    def decode_id(self, text: str) -> tuple[int, int] | None:
        """Return (queue number, sequence), or None for what is not an id of this log."""
        if not _ID.fullmatch(text):
            return None
        digits = text.replace("-", "")
        n = int(digits[:12] + digits[13:16], 16) << 62 | int(digits[16:], 16) & (1 << 62) - 1
        return self._decode(n)

    def decode_receipt(self, text: str) -> tuple[int, int, int] | None:
        """Return (queue number, sequence, token), or None for what is not a receipt of this log."""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return None
        if len(data) != _RECEIPT_BYTES or len(text) != 2 * _RECEIPT_BYTES:  # fromhex lets spaces through
            return None
        token = int.from_bytes(data[16:], "big")
        place = self._decode(int.from_bytes(data[:16], "big"))
        return (*place, token) if place and token else None  # 0 is no claim's token

    def _decode(self, n: int) -> tuple[int, int] | None:
        plain = (n - self._addend) * self._inverse % _MODULUS
        if n >= _MODULUS or plain >> _CHECK_SHIFT != self._check:
            return None
        return plain >> _SEQUENCE_BITS & (1 << _QUEUE_BITS) - 1, plain & (1 << _SEQUENCE_BITS) - 1
