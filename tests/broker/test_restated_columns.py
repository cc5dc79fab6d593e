"""Restating messages of which some are there, some are gone and some were never known: afterwards all are there."""

from __future__ import annotations

import itertools

import pytest

from wonderq.model.status import CLAIMED, DELAYED, WAITING
from wonderq.state.columns import Columns

KNOWN = ["waiting", "claimed", "delayed", "gone", "unknown"]


@pytest.mark.parametrize("before", list(itertools.product(KNOWN, repeat=3)), ids="-".join)
def test_all_that_was_known_is_replaced(before: tuple[str, ...]) -> None:
    columns = Columns()
    for sequence, known in enumerate(before):
        if known != "unknown":
            columns.produce(sequence, 1, 1000 + sequence, [10], [500] if known == "delayed" else [])
        if known == "claimed":
            columns.claim([sequence, 1], 1, 499, 7)
        if known == "gone":
            columns.delete([sequence, 1])
    columns.rewrite([0, 3], 2000, [5, 6, 7], [1, 2, 4])
    views = columns.after(-1, 10)
    assert [(view.sequence, view.status, view.position, view.length, view.produced_ms) for view in views] == [
        (0, WAITING, 2000, 1, 5),
        (1, WAITING, 2001, 2, 6),
        (2, WAITING, 2003, 4, 7),
    ]
    assert [(view.receives, view.token, view.timeout_ms) for view in views] == [(0, 0, 0)] * 3
    assert (columns.bytes, len(columns), columns.next_sequence) == (7, 3, 3)
    assert [columns.counts[status] for status in (WAITING, CLAIMED, DELAYED)] == [3, 0, 0]
    columns.advance(10_000)
    assert columns.pick(10, 1 << 20) == [0, 3]
    columns.delete([0, 3])
    assert (columns.bytes, len(columns)) == (0, 0)
