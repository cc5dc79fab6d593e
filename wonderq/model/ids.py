"""Message ids and receipts: opaque to clients, decoded in constant time, rejected when invented.

An id is a UUID of version 8 (RFC 9562, "custom"). Its 122 free bits are ``check | queue number | sequence number``
after a secret affine map: times an odd number, plus another number. The map spreads every bit upwards, so an invented
or mistyped id decodes to the right check with a probability of 1 in 2**42. This protects against mistakes and against
the ids of other brokers. An id is not a password.

A receipt is an id and the token of one claim, as 40 hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

_SEQUENCE_BITS = 48
_QUEUE_BITS = 32
_ID_BITS = 122
_MODULUS = 1 << _ID_BITS
_CHECK_SHIFT = _SEQUENCE_BITS + _QUEUE_BITS
_CHECK_BITS = _ID_BITS - _CHECK_SHIFT

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)

_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1
_MASK = _MODULUS - 1
#: Factors that make room in a UUID for the two variant bits and the four version bits, and the value of these bits.
_VARIANT_ROOM, _VERSION_ROOM, _FIXED_BITS = 0b11 << 62, 0b1111 << 76, 8 << 76 | 0b10 << 62

#: In a batch, a UUID takes a hexadecimal digit for each of its 36 characters. Here are the parts of a number (first bit
#: and bits, and the bits by which they are moved), the fixed bits, and the places of the dashes.
_PARTS = ((0, 48, 0), (48, 14, 4), (62, 12, 10), (74, 16, 18), (90, 32, 22))
_FIXED_OF_BATCH = 8 << 84 | 0b10 << 66
_TEXT_CHARACTERS = 36
_TEXT_BYTES = _TEXT_CHARACTERS // 2
_DASHES = (8, 13, 18, 23)

_RECEIPT = Struct(">16sI")
_RECEIPT_DIGITS = 2 * _RECEIPT.size


def _id(number: int) -> str:
    """Return a number as a UUID."""
    uuid = number + (number >> 62) * _VARIANT_ROOM + (number >> 74) * _VERSION_ROOM + _FIXED_BITS
    digits = f"{uuid:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _Lanes(NamedTuple):
    """Numbers of `_TEXT_BYTES` each, one after the other in one integer; the first is the highest."""

    length: int
    """Number of numbers."""
    masks: Sequence[int]
    """For each of `_PARTS`, its bits in each lane."""
    fixed: int
    """`_FIXED_OF_BATCH` in each lane."""
    ones: int
    """1 in each lane."""
    indexes: int
    """0, 1, 2 and so on."""


@lru_cache(maxsize=4)
def _lanes(count: int) -> _Lanes:
    ones = _joined([1] * count)
    masks = [((1 << bits) - 1 << first) * ones for first, bits, _ in _PARTS]
    return _Lanes(count, masks, _FIXED_OF_BATCH * ones, ones, _joined(range(count)))


def _joined(numbers: Iterable[int]) -> int:
    """Return numbers in lanes."""
    return int.from_bytes(b"".join([n.to_bytes(_TEXT_BYTES, "big") for n in numbers]), "big")


def _ids(numbers: int, lanes: _Lanes) -> list[str]:
    """Return the numbers in lanes as UUIDs; bits above those of an id are ignored.

    An operation on all of them takes little longer than on one number.
    """
    uuids = lanes.fixed
    for mask, (_, _, shift) in zip(lanes.masks, _PARTS, strict=True):
        uuids |= (numbers & mask) << shift
    text = bytearray(uuids.to_bytes(lanes.length * _TEXT_BYTES, "big").hex(), "ascii")
    for place in _DASHES:
        text[place::_TEXT_CHARACTERS] = b"-" * lanes.length
    whole = text.decode()
    return [whole[at : at + _TEXT_CHARACTERS] for at in range(0, len(whole), _TEXT_CHARACTERS)]


class Ids:
    """Encoder and decoder for the ids of one log. The key is the 16 random bytes of its IDENTITY record."""

    def __init__(self, key: bytes) -> None:
        secret = int.from_bytes(key * 2, "big")
        self._factor = secret % _MODULUS | 1
        self._inverse = pow(self._factor, -1, _MODULUS)
        self._addend = (secret >> 64) % _MODULUS
        self._check = (secret >> 32) % (1 << _CHECK_BITS)
        self._mark = self._check << _CHECK_SHIFT

    def _encode(self, queue: int, sequence: int) -> int:
        return ((self._mark | queue << _SEQUENCE_BITS | sequence) * self._factor + self._addend) & _MASK

    def message_id(self, queue: int, sequence: int) -> str:
        """Return the id of one message."""
        return _id(self._encode(queue, sequence))

    def message_ids(self, queue: int, sequences: Sequence[int]) -> list[str]:
        """Return the ids of messages of one queue. A range takes half the time per id."""
        if len(sequences) < 2:
            return [self.message_id(queue, sequence) for sequence in sequences]
        lanes = _lanes(len(sequences))
        if isinstance(sequences, range) and sequences.step == 1:
            return _ids(self._encode(queue, sequences.start) * lanes.ones + self._factor * lanes.indexes, lanes)
        return _ids(_joined(self._numbers(queue, sequences)), lanes)

    def _numbers(self, queue: int, sequences: Iterable[int]) -> list[int]:
        base, factor = self._encode(queue, 0), self._factor
        return [base + sequence * factor & _MASK for sequence in sequences]

    def receipt(self, queue: int, sequence: int, token: int) -> str:
        """Return the receipt of one message that was claimed with a token."""
        return self.ids_and_receipts(queue, (sequence,), token)[1][0]

    def ids_and_receipts(self, queue: int, sequences: Iterable[int], token: int) -> tuple[list[str], list[str]]:
        """Return the ids and receipts of messages that were claimed with one token."""
        numbers = self._numbers(queue, sequences)
        end = token.to_bytes(4, "big")
        digits = b"".join([n.to_bytes(16, "big") + end for n in numbers]).hex()
        receipts = [digits[at : at + _RECEIPT_DIGITS] for at in range(0, len(digits), _RECEIPT_DIGITS)]
        return _ids(_joined(numbers), _lanes(len(numbers))), receipts

    def decode_id(self, text: str) -> tuple[int, int] | None:
        """Return the queue number and the sequence number of an id, or None if it is not an id of this log."""
        if not _ID.fullmatch(text):
            return None
        digits = text.replace("-", "")
        n = int(digits[:12] + digits[13:16], 16) << 62 | int(digits[16:], 16) & (1 << 62) - 1
        return self._decode(n)

    def decode_receipt(self, text: str) -> tuple[int, int, int] | None:
        """Return queue number, sequence number and token of a receipt, or None if it is not a receipt of this log."""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return None
        if len(data) != _RECEIPT.size or len(text) != _RECEIPT_DIGITS:  # fromhex accepts spaces
            return None
        number, token = _RECEIPT.unpack(data)
        place = self._decode(int.from_bytes(number, "big"))
        return (*place, token) if place and token else None  # no claim has the token 0

    def decode_receipts(self, queue: int, texts: Sequence[str]) -> tuple[list[int], list[int]] | None:
        """Return sequence numbers and tokens, or None unless all texts are receipts of this queue."""
        if any(len(text) != _RECEIPT_DIGITS for text in texts):
            return None
        try:
            data = bytes.fromhex("".join(texts))
        except ValueError:
            return None
        if len(data) != _RECEIPT.size * len(texts):
            return None
        addend, inverse, number_of = self._addend, self._inverse, int.from_bytes
        prefix = self._check << _QUEUE_BITS | queue
        sequences, tokens = [], []
        for digits, token in _RECEIPT.iter_unpack(data):
            n = number_of(digits, "big")
            plain = (n - addend) * inverse & _MASK
            if n > _MASK or plain >> _SEQUENCE_BITS != prefix or not token:
                return None
            sequences.append(plain & _SEQUENCE_MASK)
            tokens.append(token)
        return sequences, tokens

    def _decode(self, n: int) -> tuple[int, int] | None:
        plain = (n - self._addend) * self._inverse & _MASK
        if n > _MASK or plain >> _CHECK_SHIFT != self._check:
            return None
        return plain >> _SEQUENCE_BITS & (1 << _QUEUE_BITS) - 1, plain & _SEQUENCE_MASK
