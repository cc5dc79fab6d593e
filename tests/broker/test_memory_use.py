"""Memory use of messages: tens of bytes for one that only waits, also next to others with more state."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from wonderq.model.status import BURIED, DELAYED
from wonderq.state.columns import Columns
from wonderq.state.page import PAGE_MESSAGES

MESSAGES = 50 * PAGE_MESSAGES


def claim(real: Columns, sequence: int) -> None:
    real.claim([sequence, 1], 1, 60_000, 7)


def update(real: Columns, sequence: int) -> None:
    view = real.find(sequence)
    assert view is not None
    real.rewrite([sequence, 1], view.position, [view.produced_ms], [view.length])
    real.rewrite_state(real.state_of(view._replace(updates=1)))


def enter_a_lane(real: Columns, sequence: int) -> None:
    view = real.find(sequence)
    assert view is not None
    real.rewrite([sequence, 1], view.position, [view.produced_ms], [view.length])
    real.rewrite_state(real.state_of(view)._replace(priority=5, group="group"))


COMPANY: dict[str, list[Callable[[Columns, int], object]]] = {
    "none": [],
    "a claim": [claim],
    "a delay": [lambda real, sequence: real.change(sequence, DELAYED, 1_000, 0)],
    "a buried one": [lambda real, sequence: real.change(sequence, BURIED, 0, 0)],
    "an updated one": [update],
    "one in a lane": [enter_a_lane],
    "all of that": [claim, update, enter_a_lane],
}


def cost(fill: Callable[[Columns], object]) -> float:
    """Return how many bytes a message takes of those that ``fill`` adds."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        real = Columns()
        fill(real)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / len(real)


@pytest.mark.parametrize("company", COMPANY)
def test_a_waiting_message_costs_at_most_64_bytes_in_any_company(company: str) -> None:
    def fill(real: Columns) -> None:
        for first in range(0, MESSAGES, 1024):
            real.produce(first, 1_700_000_000_000, first * 100, [106] * 1024, [])
            for step in COMPANY[company]:
                if first % PAGE_MESSAGES == 0:
                    step(real, first + 17)

    assert cost(fill) <= 64


@pytest.mark.parametrize("way", ["claimed and released", "delayed until now"])
def test_it_costs_no_more_once_all_of_them_did_more(way: str) -> None:
    def fill(real: Columns) -> None:
        for first in range(0, MESSAGES, 1024):
            real.produce(first, 1, first * 100, [106] * 1024, [10] * 1024 if way == "delayed until now" else [])
            if way == "claimed and released":
                real.claim([first, 1024], 1, 9, 7)
            real.advance(10)

    assert cost(fill) <= 64


def test_a_message_in_a_lane_of_many_costs_little_more() -> None:
    def fill(real: Columns) -> None:
        for first in range(0, MESSAGES // 5, 1024):
            lanes = [(index % 10, f"group {index % 100}") for index in range(1024)]
            real.produce(first, 1, first * 100, [106] * 1024, [], lanes)

    assert cost(fill) <= 128


def test_a_message_that_was_claimed_alone_costs_at_most_128_bytes() -> None:
    def fill(real: Columns) -> None:
        for first in range(0, MESSAGES // 5, 1024):
            real.produce(first, 1_700_000_000_000, first * 100, [106] * 1024, [])
            for sequence in range(first, first + 1024):
                real.claim([sequence, 1], 1_700_000_000_000 + sequence, 60_000, 7)

    assert cost(fill) <= 128
