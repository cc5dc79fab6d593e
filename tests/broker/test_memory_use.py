"""Memory use of messages: tens of bytes for one that only waits, also next to others with more state."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from tests.support.states import thin
from wonderq.model.status import BURIED, DELAYED
from wonderq.state.columns import Columns
from wonderq.state.page import PAGE_MESSAGES
from wonderq.state.record import to_runs

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


# Few messages left


LEFT: dict[str, tuple[int, Callable[[int], bool]]] = {
    "one of each page": (128, lambda sequence: sequence % PAGE_MESSAGES == 1000),
    "every 1,000th": (24, lambda sequence: sequence % 1000 == 0),
    "every 50th": (8, lambda sequence: sequence % 50 == 0),
    "every 4th": (8, lambda sequence: sequence % 4 == 0),
    "every 3rd": (8, lambda sequence: sequence % 3 == 0),
    "every 2nd": (8, lambda sequence: sequence % 2 == 0),
    "some of each page": (8, lambda sequence: sequence % PAGE_MESSAGES < 500),
    "all of a page and one message of the next ones": (
        16,
        lambda sequence: sequence % (4 * PAGE_MESSAGES) <= PAGE_MESSAGES,
    ),
    "some of a page and none of the next ones": (16, lambda sequence: sequence % (4 * PAGE_MESSAGES) < 700),
}
"""Patterns of messages that are left: the number of pages, and whether a message is left."""


def leave_some(real: Columns, pages: int, is_left: Callable[[int], bool]) -> None:
    """Claim all messages and delete most; thin the pages meanwhile."""
    for first in range(0, pages * PAGE_MESSAGES, PAGE_MESSAGES):
        real.produce(first, 1_700_000_000_000, first * 100, [106] * PAGE_MESSAGES, [])
        real.claim([first, PAGE_MESSAGES], 1, 60_000, 7)
        real.delete(to_runs(each for each in range(first, first + PAGE_MESSAGES) if not is_left(each)))
        thin(real)
    thin(real)  # the last page, which could still be in use before


@pytest.mark.parametrize("pattern", LEFT)
def test_a_message_that_is_left_costs_at_most_256_bytes_whatever_else_was_there(pattern: str) -> None:
    assert cost(lambda real: leave_some(real, *LEFT[pattern])) <= 256


def test_the_only_message_of_a_queue_that_had_many_takes_little() -> None:
    assert cost(lambda real: leave_some(real, 1, lambda sequence: sequence == 17)) <= 10_000


def test_thinning_leaves_dense_pages_and_small_queues_alone() -> None:
    for messages in (1, 300, PAGE_MESSAGES, 2 * PAGE_MESSAGES + 5):
        real = Columns()
        real.produce(0, 1, 1, [10] * messages, [])
        real.claim([0, messages], 1, 60_000, 7)
        pages = list(real._pages.values())
        thin(real)
        thin(real)
        assert list(real._pages.values()) == pages
        assert not any(page.sequences for page in pages[:-1])


def test_the_page_that_a_busy_queue_appends_to_stays_dense() -> None:
    real = Columns()
    real.produce(0, 1, 1, [10] * 3000, [])
    real.delete([0, 2990])
    thin(real)
    assert not real._sparse
    thin(real)
    assert real._sparse == [0]
    real.produce(3000, 1, 1, [10] * 500, [])
    assert [view.sequence for view in real.after(2988, 12)] == list(range(2990, 3002))
