"""The cost of an open dashboard, counted: it follows neither the number of queues nor that of pages."""

from __future__ import annotations

import pytest
from falcon.testing import create_environ

from tests.support.memory_log import MemoryLog
from tests.support.python_calls import calls_of
from wonderq.app import App, create_app
from wonderq.broker.broker import Broker
from wonderq.broker.counters import NAMED_QUEUES
from wonderq.broker.history import NO_FLOWS, WINDOWS

#: Calls of wonderq/ui/pages: overview.js, topics.js, topic.js and queue.js.
CALLS = {
    "overview": ("/overview", "/overview/history", "/queues?figures=true&limit=51&sort=name"),
    "topics": ("/overview", "/topics?figures=true&limit=51"),
    "topic": ("/overview", "/topics/wide?figures=true", "/topics/wide/subscriptions?limit=51"),
    "queue": ("/overview", "/queues/queue-00000?figures=true"),
}

#: Bytes of all answers that the overview needs, with histories of the full length.
MOST_BYTES = 100_000

#: Calls of Python functions for one turn of a page whose answers another page has just got.
MOST_CALLS = 250


def open_app(queues: int) -> App:
    broker = Broker(MemoryLog())
    for number in range(queues):
        broker.put_queue(f"queue-{number:05}")
    broker.produce("queue-00000", ["x"] * 10)
    broker.topics.put("wide")
    for number in range(queues):
        broker.topics.put(f"topic-{number:05}")
        broker.topics.subscribe(f"topic-{number:05}", "first", queue="queue-00000")
        broker.topics.subscribe("wide", f"s-{number:05}", queue=f"queue-{number:05}", filter={"kind": ["paid"]})
    for _ in range(60):  # those of the small charts
        broker.history._sample(broker.core.clock.now_ms(), 0)
    broker.history._all.sample(broker.core.clock.now_ms(), 10, 0, NO_FLOWS, missed=WINDOWS["1h"].points)
    broker.overview.current()
    broker.overview._due_s = float("inf")  # gathering is not a page's cost, but that of a second
    return create_app(broker)


def turn(app: App, page: str, headers: dict[str, str]) -> int:
    """Ask what a page asks every two seconds; return the bytes of the answers."""
    size = 0
    statuses: list[str] = []
    for call in CALLS[page]:
        path, _, query = call.partition("?")
        environment = create_environ(path=path, query_string=query, headers={"X-WonderQ-UI": "1", **headers})
        size += sum(map(len, app(environment, lambda status, *_: statuses.append(status))))  # type: ignore[arg-type]
    assert set(statuses) == {"200 OK"}
    return size


def cost_of_turn(app: App, page: str, headers: dict[str, str]) -> int:
    """Return the number of calls of Python functions that a turn takes."""
    turn(app, page, headers)  # what is computed once
    return calls_of(lambda: turn(app, page, headers))


@pytest.fixture(scope="module")
def apps() -> tuple[App, App]:
    """A broker with more queues than have a history, and one with four times as many."""
    return open_app(NAMED_QUEUES + 1), open_app(4 * NAMED_QUEUES)


@pytest.mark.parametrize("page", CALLS)
def test_the_answers_do_not_grow_with_the_number_of_queues(apps: tuple[App, App], page: str) -> None:
    few, many = (turn(app, page, {}) for app in apps)
    assert few < MOST_BYTES
    assert many < 1.02 * few


@pytest.mark.parametrize("page", CALLS)
def test_the_work_does_not_grow_with_the_number_of_queues(apps: tuple[App, App], page: str) -> None:
    few, many = (cost_of_turn(app, page, {}) for app in apps)
    assert many < 1.02 * few


@pytest.mark.parametrize("page", CALLS)
def test_further_pages_cost_next_to_nothing(apps: tuple[App, App], page: str) -> None:
    app = apps[1]
    alone, together = cost_of_turn(app, page, {}), cost_of_turn(app, page, {"Cache-Control": "max-age=1000"})
    assert together < MOST_CALLS
    assert together < 0.15 * alone
