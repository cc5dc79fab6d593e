"""Ids and receipts: shaped like UUIDs, decoded without a table, and refused when made up or mistyped."""

from __future__ import annotations

import random
import re
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wonderq.model.ids import Ids

KEY = bytes(range(16))
UUID_8 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
HEX = "0123456789abcdef"

keys = st.binary(min_size=16, max_size=16)
queue_numbers = st.integers(0, (1 << 32) - 1)
sequences = st.integers(0, (1 << 48) - 1)
tokens = st.integers(1, (1 << 32) - 1)


@settings(deadline=None, max_examples=300)
@given(keys, queue_numbers, sequences, tokens)
def test_what_was_encoded_decodes_to_the_same(key: bytes, queue: int, sequence: int, token: int) -> None:
    ids = Ids(key)
    message_id = ids.message_id(queue, sequence)
    assert UUID_8.fullmatch(message_id)
    assert uuid.UUID(message_id).variant == uuid.RFC_4122
    assert uuid.UUID(message_id).version == 8
    assert ids.decode_id(message_id) == (queue, sequence)
    assert ids.decode_id(message_id.upper()) == (queue, sequence)
    receipt = ids.receipt(queue, sequence, token)
    assert re.fullmatch("[0-9a-f]{40}", receipt)
    assert ids.decode_receipt(receipt) == (queue, sequence, token)


@settings(deadline=None)
@given(keys, queue_numbers, st.lists(sequences, max_size=40), tokens)
def test_a_batch_has_the_ids_of_its_messages(key: bytes, queue: int, batch: list[int], token: int) -> None:
    ids = Ids(key)
    expected = [ids.message_id(queue, sequence) for sequence in batch]
    assert ids.message_ids(queue, batch) == expected
    message_ids, receipts = ids.ids_and_receipts(queue, batch, token)
    assert [each.decode() for each in message_ids] == expected
    assert [each.decode() for each in receipts] == [ids.receipt(queue, sequence, token) for sequence in batch]


def test_ids_and_receipts_are_distinct() -> None:
    ids = Ids(KEY)
    places = [(queue, sequence) for queue in range(1, 5) for sequence in range(5000)]
    assert len({ids.message_id(*place) for place in places}) == len(places)
    assert len({ids.receipt(*place, token) for place in places[:2000] for token in (1, 2, 3)}) == 6000


@given(keys, queue_numbers, st.integers(0, (1 << 48) - 300), st.integers(0, 300), tokens)
def test_those_of_a_batch_are_those_of_each(key: bytes, queue: int, first: int, count: int, token: int) -> None:
    """Neighbours are computed in another way than others."""
    ids = Ids(key)
    neighbours = range(first, first + count)
    message_ids, receipts = ids.ids_and_receipts(queue, neighbours, token)
    assert [each.decode() for each in message_ids] == [ids.message_id(queue, each) for each in neighbours]
    assert [each.decode() for each in receipts] == [ids.receipt(queue, each, token) for each in neighbours]
    assert ids.ids_and_receipts(queue, list(neighbours), token) == (message_ids, receipts)
    assert ids.message_ids(queue, neighbours) == [each.decode() for each in message_ids]


#: Ids and receipts that an earlier version returned. Those in the hands of clients stay valid.
GIVEN = {
    (1, 0, 1): ("1443edd1-af46-8870-8e10-020304050607", "00510fb746bd1a1c0e1002030405060700000001"),
    (1, 1, 4294967295): ("14846e92-b088-808c-9619-0c0e10121416", "005211ba4ac2202316190c0e10121416ffffffff"),
    (7, 123456789, 77): ("d6d9560c-bd27-83a8-a774-5197ddae3042", "035b655832f49cea27745197ddae30420000004d"),
    (4294967295, 281474976710655, 5): (
        "15046e11-af02-801f-b7f7-f7f7f7f7f7f8",
        "005411b846bc0807f7f7f7f7f7f7f7f800000005",
    ),
}


@pytest.mark.parametrize("claim", GIVEN)
def test_they_stay_the_same(claim: tuple[int, int, int]) -> None:
    ids = Ids(KEY)
    assert (ids.message_id(*claim[:2]), ids.receipt(*claim)) == GIVEN[claim]


def test_neighbours_do_not_look_alike() -> None:
    ids = Ids(random.Random(3).randbytes(16))
    pairs = [(ids.message_id(1, n), ids.message_id(1, n + 1)) for n in range(1000)]
    same = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in pairs]
    assert sum(same) / len(same) < 20, "of 36 places 5 are fixed, and of the others few should agree"


@pytest.mark.parametrize("seed", range(20))
def test_one_wrong_digit_is_noticed(seed: int) -> None:
    chance = random.Random(seed)
    ids = Ids(chance.randbytes(16))
    place = chance.randrange(1, 100), chance.randrange(1 << 30)
    message_id = ids.message_id(*place)
    for at, digit in enumerate(message_id):
        for other in HEX.replace(digit, "") if digit != "-" else HEX:
            assert ids.decode_id(message_id[:at] + other + message_id[at + 1 :]) is None
    receipt = ids.receipt(*place, 77)
    for at, digit in enumerate(receipt):
        for other in HEX.replace(digit, ""):
            found = ids.decode_receipt(receipt[:at] + other + receipt[at + 1 :])
            # The last 8 digits are the token, which the broker compares with that of the claim.
            assert found is None if at < 32 else found is not None and found[:2] == place and found[2] != 77


def test_a_receipt_of_no_claim_is_none() -> None:
    ids = Ids(KEY)
    assert ids.decode_receipt(ids.receipt(1, 1, 0)) is None


def test_swapped_digits_are_noticed() -> None:
    ids = Ids(KEY)
    for sequence in range(50):
        digits = list(ids.message_id(1, sequence))
        for at in range(len(digits) - 1):
            if digits[at] != digits[at + 1] and "-" not in digits[at : at + 2]:
                swapped = [*digits[:at], digits[at + 1], digits[at], *digits[at + 2 :]]
                assert ids.decode_id("".join(swapped)) is None


def test_made_up_ids_do_not_verify() -> None:
    chance = random.Random(11)
    ids = Ids(KEY)
    for _ in range(10_000):
        n = chance.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62
        text = str(uuid.UUID(int=n))
        assert UUID_8.fullmatch(text)
        assert ids.decode_id(text) is None
        assert ids.decode_receipt(f"{chance.getrandbits(122):032x}{chance.getrandbits(32):08x}") is None


def test_ids_of_another_log_do_not_verify() -> None:
    chance = random.Random(12)
    ids = Ids(KEY)
    for _ in range(50):
        other = Ids(chance.randbytes(16))
        for sequence in range(100):
            assert ids.decode_id(other.message_id(1, sequence)) is None
            assert ids.decode_receipt(other.receipt(1, sequence, 1)) is None


GOOD_ID = Ids(KEY).message_id(1, 1)
GOOD_RECEIPT = Ids(KEY).receipt(1, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "x", GOOD_ID + " ", " " + GOOD_ID, GOOD_ID + "\n", GOOD_ID[:-1], GOOD_ID + "0", GOOD_ID.replace("-", ""), "{" + GOOD_ID + "}",
     GOOD_ID.replace("-", "_"), "٣" * 36, "é" * 36, "\0" * 36, GOOD_RECEIPT],
)  # fmt: skip
def test_what_is_not_shaped_like_an_id_is_none(text: str) -> None:
    assert Ids(KEY).decode_id(text) is None


@pytest.mark.parametrize(
    "text", ["", "x", GOOD_RECEIPT + "\n", GOOD_RECEIPT[:-1], GOOD_RECEIPT + "0", "f" * 40, "0x" + GOOD_RECEIPT[2:],
             "٣" * 40, "+" + GOOD_RECEIPT[1:], "_".join((GOOD_RECEIPT[:20], GOOD_RECEIPT[21:])), GOOD_ID],
)  # fmt: skip
def test_what_is_not_shaped_like_a_receipt_is_none(text: str) -> None:
    assert Ids(KEY).decode_receipt(text) is None


def test_two_ids_give_others_away_as_the_security_policy_states() -> None:
    """They are no secrets. But a receipt cannot be computed: its token is random."""
    ids = Ids(KEY)

    def number(text: str) -> int:
        digits = text.replace("-", "")
        return int(digits[:12] + digits[13:16], 16) << 62 | int(digits[16:], 16) & (1 << 62) - 1

    first, second = (number(ids.message_id(3, sequence)) for sequence in (10, 11))
    factor = second - first
    other_queue = ids._decode((first + (factor << 48)) % (1 << 122))
    assert other_queue == (4, 10)
