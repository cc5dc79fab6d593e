"""Producers that number their requests: a repeated request is carried out once, and has the same results."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import QueueFullError, RequestSupersededError, TooManyKeysError
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage, RequestNumber, SendResults

HOUR_MS = 3_600_000


def send(
    broker: Broker, number: int, *bodies: str, producer: str = "p", queue: str = "q", key: str = ""
) -> SendResults:
    messages = [NewMessage(body, key=key) if key else body for body in bodies]
    return broker.send(queue, messages, RequestNumber(producer, number))


def bodies(broker: Broker, queue: str = "q") -> list[str]:
    return [message.body for message in broker.messages(queue)]


def test_a_repeated_request_adds_nothing(lasting: Lasting) -> None:
    first = send(lasting.broker, 1, "a", "b")
    lasting.clock.ms += HOUR_MS - 1
    lasting.again()
    again = send(lasting.broker, 1, "a", "b")
    assert list(again) == list(first)
    assert bodies(lasting.broker) == ["a", "b"]


def test_the_results_stay_when_the_messages_are_gone(lasting: Lasting) -> None:
    first = send(lasting.broker, 1, "a", "b")
    lasting.broker.purge("q")
    lasting.again()
    assert list(send(lasting.broker, 1, "a", "b")) == list(first)
    assert bodies(lasting.broker) == []


def test_the_next_number_is_a_new_request(lasting: Lasting) -> None:
    send(lasting.broker, 1, "a")
    lasting.again()
    send(lasting.broker, 2, "a")
    send(lasting.broker, 7, "a")
    assert bodies(lasting.broker) == ["a"] * 3


def test_an_earlier_number_is_refused(lasting: Lasting) -> None:
    send(lasting.broker, 5, "a")
    lasting.again()
    with pytest.raises(RequestSupersededError, match=r"number 4, .* request 5 "):
        send(lasting.broker, 4, "b")
    assert bodies(lasting.broker) == ["a"]


def test_producers_and_queues_are_kept_apart(lasting: Lasting) -> None:
    send(lasting.broker, 1, "a")
    send(lasting.broker, 1, "b", producer="other")
    send(lasting.broker, 1, "c", queue="other")
    lasting.again()
    for _ in range(2):
        send(lasting.broker, 1, "a")
        send(lasting.broker, 1, "b", producer="other")
    assert bodies(lasting.broker) == ["a", "b"]
    assert bodies(lasting.broker, "other") == ["c"]


def test_a_producer_is_forgotten_an_hour_after_its_newest_request(lasting: Lasting) -> None:
    send(lasting.broker, 1, "a")
    lasting.clock.ms += HOUR_MS // 2
    send(lasting.broker, 2, "b")
    lasting.clock.ms += HOUR_MS - 1
    send(lasting.broker, 2, "b")
    assert bodies(lasting.broker) == ["a", "b"]
    lasting.again()
    lasting.clock.ms += 1
    send(lasting.broker, 2, "b")
    assert bodies(lasting.broker) == ["a", "b", "b"]


def test_duplicates_by_key_are_repeated_as_they_were(lasting: Lasting) -> None:
    send(lasting.broker, 1, "a", key="k")
    first = lasting.broker.send("q", ["x", NewMessage("a", key="k"), "y"], RequestNumber("p", 2))
    assert first.duplicates == {1}
    lasting.again()
    again = lasting.broker.send("q", ["x", NewMessage("a", key="k"), "y"], RequestNumber("p", 2))
    assert list(again) == list(first)
    assert bodies(lasting.broker) == ["a", "x", "y"]


def test_a_refused_request_may_be_repeated(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_messages=1)
    with pytest.raises(QueueFullError):
        send(lasting.broker, 1, "a", "b")
    lasting.again()
    send(lasting.broker, 1, "a")
    assert bodies(lasting.broker) == ["a"]


def test_memory_grows_with_producers_and_not_with_requests() -> None:
    broker = Broker(MemoryLog())
    for number in range(1, 501):
        send(broker, number, "a")
    assert broker.core.state.dedup_entries == 1
    queue = broker.core.state.queues["q"]
    assert len(queue.dedup._due) == 1
    broker.close()


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_a_number_costs_one_short_record_for_a_request_and_not_for_a_message(count: int) -> None:
    """The benchmark of `benchmarks.client` measures the time, which a quick test cannot."""
    sizes = []
    for number in (None, RequestNumber("f00dfeedf00dfeed", 1)):
        log = MemoryLog()
        broker = Broker(log)
        broker.send("q", ["a"])
        before = len(log.records)
        broker.send("q", ["a"] * count, number)
        sizes.append(list(map(len, log.records[before:])))
        broker.close()
    (plain,), (same, row) = sizes
    assert same == plain
    assert row < 64


def test_producers_are_limited() -> None:
    broker = Broker(MemoryLog(), limits=Limits(total_keys=2))
    send(broker, 1, "a", producer="1")
    send(broker, 1, "a", producer="2")
    send(broker, 2, "a", producer="1")
    with pytest.raises(TooManyKeysError):
        send(broker, 1, "a", producer="3")
    broker.close()
