"""Settings of a queue: their effect, and their durability."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.model.errors import (
    InvalidQueueNameError,
    InvalidValueError,
    MessageTooLargeError,
    QueueDrainingError,
    QueueFullError,
    TooManyInFlightError,
)
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.settings import RANGES, QueueSettings

ALL: dict[str, Any] = {
    "visibility_timeout_ms": 5_000,
    "delay_ms": 10,
    "retention_ms": 60_000,
    "max_messages": 100,
    "max_bytes": 10_000,
    "max_message_bytes": 1_000,
    "max_receives": 3,
    "dead_letter_queue": "dead",
    "paused": True,
    "draining": True,
    "content_deduplication": True,
    "deduplication_window_ms": 7_000,
    "deduplication_per_group": True,
    "max_in_flight": 9,
    "max_in_flight_per_group": 4,
    "max_claims_per_second": 50,
    "max_claims_per_second_per_group": 20,
    "tags": {"team": "payments", "é": ""},
    "sqs": {"Policy": "{}"},
}


def test_all_of_them_last(lasting: Lasting) -> None:
    assert set(ALL) == {field.name for field in fields(QueueSettings)}
    info, created = lasting.broker.put_queue("q", **ALL)
    assert created
    assert info.settings == QueueSettings(**ALL)
    assert lasting.again().queue("q").settings == QueueSettings(**ALL)


@pytest.mark.parametrize("name", ALL)
def test_one_is_changed_without_the_others_and_set_back(lasting: Lasting, name: str) -> None:
    lasting.broker.put_queue("q", **{name: ALL[name]})
    _, created = lasting.again().put_queue("q")
    assert not created
    assert lasting.broker.queue("q").settings == QueueSettings(**{name: ALL[name]})
    lasting.broker.put_queue("q", **{name: getattr(QueueSettings(), name)})
    assert lasting.again().queue("q").settings == QueueSettings()


def test_the_same_again_writes_nothing(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", **ALL)
    written = lasting.again().log_bytes
    lasting.broker.put_queue("q", **ALL)
    assert lasting.broker.log_bytes == written


@pytest.mark.parametrize("name", RANGES)
def test_numbers_have_ranges(lasting: Lasting, name: str) -> None:
    least, most = RANGES[name]
    for value in (least - 1, most + 1):
        with pytest.raises(InvalidValueError, match=name.removesuffix("_ms")):
            lasting.broker.put_queue("default", **{name: value})
    for value in (most, least):
        lasting.broker.put_queue("default", **{name: value})
    assert getattr(lasting.again().queue("default").settings, name) == least


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"dead_letter_queue": "q"}, InvalidValueError),
        ({"dead_letter_queue": "no/name"}, InvalidQueueNameError),
        ({"tags": {"": "x"}}, InvalidValueError),
        ({"tags": {"x": "y" * 257}}, InvalidValueError),
        ({"tags": {str(n): "" for n in range(51)}}, InvalidValueError),
        ({"visibility_timeout_ms": -1}, InvalidValueError),
        ({"delay_ms": -1}, InvalidValueError),
    ],
)
def test_what_makes_no_sense_is_refused(lasting: Lasting, settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        lasting.broker.put_queue("q", **settings)
    assert [info.name for info in lasting.again().queues()] == ["default"]


# Limits


def test_a_queue_holds_so_many_messages(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_messages=3)
    one, _ = lasting.add("q", "1", "2")
    lasting.again()
    for send in (
        lambda: lasting.broker.produce("q", ["3", "4"]),
        lambda: lasting.broker.send("q", [NewMessage("3", priority=1), NewMessage("4")]),
    ):
        with pytest.raises(QueueFullError, match="its max_messages"):
            send()
    lasting.add("q", "3")
    lasting.broker.delete("q", Target(id=one))
    lasting.again()
    lasting.add("q", "4")
    lasting.broker.put_queue("q", max_messages=1)
    with pytest.raises(QueueFullError):
        lasting.broker.produce("q", ["5"])
    assert lasting.bodies("q") == "2 3 4", "those that are there stay"


def test_a_queue_holds_so_many_bytes(lasting: Lasting) -> None:
    lasting.broker.produce("q", ["x" * 50])
    taken = lasting.broker.queue("q").bytes
    lasting.broker.put_queue("q", max_bytes=2 * taken)
    lasting.again()
    with pytest.raises(QueueFullError, match="its max_bytes"):
        lasting.broker.produce("q", ["x" * 51])
    lasting.broker.produce("q", ["x" * 50])


def test_a_message_has_so_many_bytes(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_message_bytes=5)
    lasting.again()
    lasting.broker.produce("q", ["éé1"])
    with pytest.raises(MessageTooLargeError, match="6 bytes, and at most 5 are allowed"):
        lasting.broker.produce("q", ["ok", "ééé"])
    assert lasting.bodies("q") == "éé1"


def test_so_many_are_in_flight(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight=2)
    lasting.add("q", "1", "2", "3")
    lasting.add("q", "4", priority=1)
    lasting.again()
    held = lasting.take("q")
    assert [message.body for message in held] == ["4", "1"]
    lasting.again()
    with pytest.raises(TooManyInFlightError, match=r"queue q has reached .* \(2\)"):
        lasting.take("q")
    lasting.broker.delete("q", Target(receipt=held[0].receipt))
    assert lasting.bodies("q") == "2"
    lasting.clock.ms += 10_000
    assert lasting.bodies("q") == "1 2"


# Paused and draining


def test_a_paused_queue_takes_messages_and_gives_none_out(lasting: Lasting) -> None:
    lasting.add("q", "1")
    (held,) = lasting.take("q", attempt_id="one")
    lasting.broker.put_queue("q", paused=True)
    lasting.add("q", "2")
    lasting.again()
    assert lasting.bodies("q") == ""
    assert lasting.take("q", attempt_id="one") == []
    lasting.broker.delete("q", Target(receipt=held.receipt))
    assert [message.body for message in lasting.broker.messages("q")] == ["2"], "what is held can be finished"
    lasting.broker.put_queue("q", paused=False)
    lasting.again()
    assert lasting.bodies("q") == "2"


@pytest.mark.usefixtures("woken_only")
def test_those_who_wait_for_a_paused_queue_are_woken_when_it_goes_on(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", paused=True)
    lasting.add("q", *"abc")
    broker = lasting.again()
    waiting = [Call(broker.claim, "q", limit=1, wait_s=20) for _ in range(3)]
    eventually(lambda: broker.waiting_consumers == 3)
    broker.put_queue("q", paused=False)
    assert sorted(message.body for call in waiting for message in call.result()) == ["a", "b", "c"]


def test_waiting_for_a_paused_queue_takes_no_work(lasting: Lasting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when a claim has ended meanwhile, for which the first in line would wake up."""
    lasting.add("q", "1")
    lasting.take("q", timeout_ms=1)
    lasting.broker.put_queue("q", paused=True)
    broker = lasting.again()
    lasting.clock.ms += 1
    tries = []
    claim = broker.claims.try_claim
    monkeypatch.setattr(broker.claims, "try_claim", lambda *given: tries.append(1) or claim(*given))
    assert broker.claim("q", wait_s=0.3) == []
    assert len(tries) <= 3


@pytest.mark.usefixtures("woken_only")
def test_more_in_flight_lets_those_go_on_who_wait(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight=1)
    lasting.add("q", *"ab")
    lasting.take("q")
    broker = lasting.again()
    waiting = Call(broker.claim, "q", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    broker.put_queue("q", max_in_flight=2)
    assert [message.body for message in waiting.result()] == ["b"]


def test_a_draining_queue_gives_out_messages_and_takes_none(lasting: Lasting) -> None:
    one, two = lasting.add("q", "1", "2")
    lasting.broker.put_queue("q", draining=True)
    lasting.again()
    for send in (
        lambda: lasting.broker.produce("q", ["3"]),
        lambda: lasting.broker.send("q", [NewMessage("3", group="g")]),
        lambda: lasting.broker.hand_over("q", [Target(id=one)], {"q": [NewMessage("3")]}),
    ):
        with pytest.raises(QueueDrainingError):
            send()
    assert lasting.bodies("q") == "1 2"
    lasting.broker.hand_over("q", [Target(id=two)], {"r": [NewMessage("2, done")]})
    lasting.broker.put_queue("q", draining=False)
    lasting.again()
    assert lasting.add("q", "3")


# Cost of a queue without these settings


def test_a_plain_queue_has_neither_lanes_nor_a_memory(lasting: Lasting) -> None:
    for n in range(20):
        lasting.broker.produce("q", [f"{n}.{each}" for each in range(300)])
    lasting.take("q", 500)
    broker = lasting.again()
    for message in list(broker.messages("q", limit=5)):
        broker.delete("q", Target(id=message.id))
    queue = broker.core.state.queues["q"]
    assert not queue.messages.lanes.by_number
    assert not queue.messages.lanes._open
    assert len(queue.dedup) == 0
    assert not any(page.lane or page.updates for page in queue.messages._pages.values())
    assert broker.core.state.dedup_entries == 0


def test_lanes_and_keys_leave_nothing_behind(lasting: Lasting) -> None:
    for n in range(30):
        lasting.broker.send("q", [NewMessage("x", group=f"{n}.{each}", key=f"{n}.{each}") for each in range(10)])
    broker = lasting.again()
    while claimed := broker.claim("q", limit=100):
        broker.delete_batch("q", [Target(receipt=message.receipt) for message in claimed])
    lasting.clock.ms += 1_000_000
    lasting.again()
    lasting.broker.send("q", [NewMessage("last", key="last")])
    lasting.broker.upkeep()
    queue = lasting.broker.core.state.queues["q"]
    assert not queue.messages.lanes.by_number
    assert not queue.messages.lanes._groups
    assert len(queue.dedup) == len(queue.dedup._due) == 1


def test_a_message_that_comes_and_goes_again_and_again_takes_one_place(lasting: Lasting) -> None:
    """Lanes keep heaps, in which what no longer holds must not pile up; also if nobody asks for the lane's messages."""
    (one,) = lasting.add("q", "1", group="g")
    lasting.add("q.fifo", "0", group="g")
    (two,) = lasting.add("q.fifo", "2", group="g")
    lasting.again()
    for _ in range(300):
        for queue, message_id in (("q", one), ("q.fifo", two)):
            for delay_ms in (1_000, 0):
                lasting.broker.update_batch(queue, [(Target(id=message_id), Change(delay_ms=delay_ms))])
    for queue in ("q", "q.fifo"):
        for lane in lasting.broker.core.state.queues[queue].messages.lanes.by_number.values():
            assert len(lane.ready) + len(lane.delayed) < 150
    assert lasting.bodies("q") == "1"
    assert lasting.bodies("q.fifo") == "0 2"
