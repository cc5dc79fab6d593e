"""Message ids and receipts: opaque to clients, decoded in constant time, rejected when invented.

An id is a UUID of version 8 (RFC 9562, "custom"). Its 122 free bits are ``check | queue number | sequence number``
after a secret affine map: times an odd number, plus another number. The map spreads every bit upwards, so an invented
or mistyped id decodes to the right check with a probability of 1 in 2**42. This protects against mistakes and against
the ids of other brokers. An id is not a password.

A receipt is an id and the token of one claim, as 40 hexadecimal digits.
"""

from __future__ import annotations

import re
from array import array
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
_ID_DIGITS = 36

_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1
_MASK = _MODULUS - 1

_TOKEN_BITS = 32
_RECEIPT = Struct(">16sI")
_RECEIPT_DIGITS = 2 * _RECEIPT.size

#: For a single id: factors that make room for the two variant bits and the four version bits, and the value of these.
_VARIANT_ROOM, _VERSION_ROOM, _FIXED_OF_ONE = 0b11 << 62, 0b1111 << 76, 8 << 76 | 0b10 << 62

#: For a batch, the parts of an id: the lowest bit of each in the number, its bits, and its lowest bit in the digits of
#: the id, where a dash has the place of a digit. Between the parts are the version and the variant.
_ID_PARTS = ((0, 48, 0), (48, 14, 52), (62, 12, 72), (74, 16, 92), (90, 32, 112))
_FIXED_BITS = 8 << 84 | 0b10 << 66

#: Digits of a slot before the id in it, and the places of the dashes.
_MARGIN = _RECEIPT_DIGITS - _ID_DIGITS
_DASHES = [_MARGIN + at for at in (8, 13, 18, 23)]

#: Most messages that are computed at a time. Constants are kept for each number of messages up to this one.
_MOST_AT_A_TIME = 128


def _id(number: int) -> str:
    """Return the id of a number, in a third of the time that a batch of one takes."""
    uuid = number + (number >> 62) * _VARIANT_ROOM + (number >> 74) * _VERSION_ROOM + _FIXED_OF_ONE
    digits = f"{uuid:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _Slots(NamedTuple):
    """Constants for numbers that lie side by side in one integer, the first one on top.

    Each has a slot as wide as a receipt. So one operation on the integer computes a whole batch, in a tenth of the time
    that an operation per message takes.
    """

    ones: int
    """1 in each slot."""
    mask: int
    """Bits of the numbers."""
    parts: list[tuple[int, int]]
    """Bits of each part of the ids, and by how many bits to shift them."""
    fixed: int
    """Bits that are the same in all ids."""
    ids: Struct
    receipts: Struct


@lru_cache(_MOST_AT_A_TIME)
def _slots(count: int) -> _Slots:
    ones = _joined([1] * count)
    parts = [(ones * ((1 << bits) - 1 << low), place - low) for low, bits, place in _ID_PARTS]
    texts = Struct(f"{_MARGIN}x{_ID_DIGITS}s" * count), Struct(f"{_RECEIPT_DIGITS}s" * count)
    return _Slots(ones, ones * _MASK, parts, ones * _FIXED_BITS, *texts)


@lru_cache(_MOST_AT_A_TIME)
def _multiples(factor: int, count: int) -> int:
    """Return the multiples of a factor from 0 on, in slots."""
    return _joined([factor * number & _MASK for number in range(count)])


def _joined(numbers: Iterable[int]) -> int:
    return int.from_bytes(b"".join([number.to_bytes(_RECEIPT.size, "big") for number in numbers]), "big")


def _portions(sequences: Sequence[int]) -> Sequence[Sequence[int]]:
    if len(sequences) <= _MOST_AT_A_TIME:
        return (sequences,)
    return [sequences[at : at + _MOST_AT_A_TIME] for at in range(0, len(sequences), _MOST_AT_A_TIME)]


def _digits(slots: int, count: int) -> str:
    return slots.to_bytes(_RECEIPT.size * count, "big").hex()


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
        """Return the ids of messages of one queue."""
        if len(sequences) == 1:
            return [self.message_id(queue, sequences[0])]
        return list(map(bytes.decode, self.ids(queue, sequences)))

    def ids(self, queue: int, sequences: Sequence[int]) -> Sequence[bytes]:
        """Return the ids of messages of one queue in ASCII."""
        ids: list[bytes] = []
        for portion in _portions(sequences):
            ids += self._ids(self._numbers(queue, portion), len(portion))
        return ids

    def receipt(self, queue: int, sequence: int, token: int) -> str:
        """Return the receipt of one message that was claimed with a token."""
        return self.ids_and_receipts(queue, (sequence,), token)[1][0].decode()

    def ids_and_receipts(
        self, queue: int, sequences: Sequence[int], token: int
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the ids and receipts of messages that were claimed with one token, in ASCII."""
        ids: list[bytes] = []
        receipts: list[bytes] = []
        for portion in _portions(sequences):
            count, numbers = len(portion), self._numbers(queue, portion)
            ids += self._ids(numbers, count)
            receipts += _slots(count).receipts.unpack(self._receipts(numbers, count, token).encode())
        return ids, receipts

    def _numbers(self, queue: int, sequences: Sequence[int]) -> int:
        """Return the numbers of messages of one queue, in slots."""
        if len(sequences) == 1:
            return self._encode(queue, sequences[0])
        if isinstance(sequences, range) and sequences:
            slots = _slots(len(sequences))
            first = self._encode(queue, sequences[0])
            return first * slots.ones + _multiples(self._factor, len(sequences)) & slots.mask
        base, factor = self._encode(queue, 0), self._factor
        return _joined([base + sequence * factor & _MASK for sequence in sequences])

    @staticmethod
    def _ids(numbers: int, count: int) -> Sequence[bytes]:
        slots = _slots(count)
        digits = slots.fixed
        for bits, shift in slots.parts:
            digits |= (numbers & bits) << shift
        text = bytearray(_digits(digits, count).encode())
        for at in _DASHES:
            text[at::_RECEIPT_DIGITS] = b"-" * count
        return slots.ids.unpack(text)

    @staticmethod
    def _receipts(numbers: int, count: int, token: int) -> str:
        """Return the receipts of messages, one after the other."""
        return _digits(numbers << _TOKEN_BITS | token * _slots(count).ones, count)

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

    def decode_receipts(self, queue: int, texts: Sequence[str]) -> tuple[Sequence[int], Sequence[int]] | None:
        """Return sequence numbers and tokens, or None unless all texts are receipts of this queue.

        The sequence numbers are a range if the texts are the receipts of one claim of neighbouring messages, in order.
        """
        if not {_RECEIPT_DIGITS}.issuperset(map(len, texts)):
            return None
        of_claim = self._decode_claim(queue, texts) if texts else None
        if of_claim is not None:
            return of_claim
        try:
            data = bytes.fromhex("".join(texts))
        except ValueError:
            return None
        if len(data) != _RECEIPT.size * len(texts):
            return None
        addend, inverse, number_of = self._addend, self._inverse, int.from_bytes
        prefix = self._check << _QUEUE_BITS | queue
        sequences, tokens = [], array("I")
        for digits, token in _RECEIPT.iter_unpack(data):
            n = number_of(digits, "big")
            plain = (n - addend) * inverse & _MASK
            if n > _MASK or plain >> _SEQUENCE_BITS != prefix or not token:
                return None
            sequences.append(plain & _SEQUENCE_MASK)
            tokens.append(token)
        return sequences, tokens

    def _decode_claim(self, queue: int, texts: Sequence[str]) -> tuple[Sequence[int], Sequence[int]] | None:
        """Return sequence numbers and tokens if texts are those of neighbouring messages of a claim; otherwise None.

        To decode the first receipt and encode the others takes a fifth of the time that decoding each takes.
        """
        place = self.decode_receipt(texts[0])
        if place is None or place[0] != queue:
            return None
        _, first, token = place
        sequences = range(first, first + len(texts))
        at = 0
        for portion in _portions(sequences) if len(texts) > 1 else ():
            count = len(portion)
            if "".join(texts[at : at + count]) != self._receipts(self._numbers(queue, portion), count, token):
                return None
            at += count
        return sequences, array("I", (token,)) * len(texts)

    def _decode(self, n: int) -> tuple[int, int] | None:
        plain = (n - self._addend) * self._inverse & _MASK
        if n > _MASK or plain >> _CHECK_SHIFT != self._check:
            return None
        return plain >> _SEQUENCE_BITS & (1 << _QUEUE_BITS) - 1, plain & _SEQUENCE_MASK
