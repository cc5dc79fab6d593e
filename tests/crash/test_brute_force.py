"""The checker against a search through everything that can have happened, on thousands of small histories."""

from __future__ import annotations

import dataclasses
import random

from tests.crash.brute_force import compare, show
from tests.crash.small_histories import QUEUE, WALL_MS
from tests.support.history.calls import Consume, Delivery, History, Listing, Outcome, Produce, Seen
from tests.support.history.checker import check
from tests.support.history.search import possible

HISTORIES = 4000

#: Less than what is measured (0.93), and enough to notice a rule that does nothing any more.
LEAST_REPORTED = 0.88


def test_the_checker_reports_nothing_that_is_possible_and_most_of_what_is_not() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")

    done = compare(random.Random(seed), HISTORIES, search_share=0.2)

    for history, violations, why in done.wrong[:2]:
        print(f"{why}:\n{show(history)}", *violations, sep="\n")
    assert not done.wrong
    assert done.impossible.total() > HISTORIES / 3


def test_the_checker_reports_most_of_what_is_impossible() -> None:
    done = compare(random.Random(1), 1000)

    assert done.share > LEAST_REPORTED, done.table()


def produce_lost() -> Produce:
    return Produce(queue=QUEUE, start_s=1, end_s=2, outcome=Outcome.UNKNOWN, bodies=("body",))


def claimed(at_s: float, count: int = 1) -> Consume:
    until_ms = WALL_MS + round(at_s * 1000) + 1000
    return Consume(
        queue=QUEUE,
        start_s=at_s,
        end_s=at_s + 0.1,
        limit=1,
        visibility_timeout_s=1,
        deliveries=(Delivery("m0", "body", f"receipt {count}", count, until_ms),),
    )


def test_the_search_knows_a_deadline_to_the_millisecond() -> None:
    on_time = History([produce_lost(), claimed(3), claimed(4, 2)], [(2, 2.1)], WALL_MS / 1000)
    early = History([produce_lost(), claimed(3), claimed(3.999, 2)], [(2, 2.1)], WALL_MS / 1000)

    assert possible(on_time)
    assert not possible(early)
    assert check(on_time) == []


def test_the_search_lets_a_lost_call_happen_once_at_most() -> None:
    twice = [claimed(3), claimed(5, 2), claimed(7, 4)]

    assert not possible(History([produce_lost(), *twice], [(2, 2.1)], WALL_MS / 1000))
    lost = Consume(queue=QUEUE, start_s=6, end_s=6.1, outcome=Outcome.UNKNOWN, limit=1, visibility_timeout_s=0.1)
    assert possible(History([produce_lost(), *twice, lost], [(2, 2.1), (6, 6.1)], WALL_MS / 1000))


def test_a_lost_consume_may_hold_what_another_one_gets_beside_the_listing() -> None:
    lost = Consume(queue=QUEUE, start_s=3, end_s=3.1, outcome=Outcome.UNKNOWN, limit=1, visibility_timeout_s=1)
    seen = Seen("m0", "body", "processing", 1, WALL_MS + 4050)
    listing = Listing(queue=QUEUE, start_s=3.9, end_s=4.5, messages=(seen,))
    later = claimed(4.2, 2)
    named = tuple(dataclasses.replace(each, consumer="one") for each in later.deliveries)
    later = dataclasses.replace(later, consumer="one", deliveries=named)
    history = History([produce_lost(), lost, listing, later], [(2, 2.1), (3, 3.1)], WALL_MS / 1000)

    assert possible(history)
    assert check(history) == []
