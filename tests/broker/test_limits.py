"""Input over a limit is refused before anything is written; what the log holds counts, and is used as it is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.random_life import live_a_random_life
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    BrokerFullError,
    InvalidValueError,
    MessageTooLargeError,
    QueueFullError,
    TooManyInFlightError,
    TooManyListingsError,
    TooManyQueuesError,
)
from wonderq.model.limits import UNLIMITED, Limits
from wonderq.model.messages import Change, Message, Target

QUEUE = "default"
LONG_S = 4 * PATIENCE_S


def limited(log: MemoryLog | None = None, clock: FakeClock | None = None, /, **limits: Any) -> Broker:
    return Broker(log or MemoryLog(), clock=clock or FakeClock(), limits=Limits(**{"wait_s": LONG_S, **limits}))


def refuses(kind: type[BrokerError], broker: Broker, call: Callable[[], Any], names: str) -> None:
    """Check that a call is refused with a sentence that names the limit, and that nothing was written."""
    log = broker.core.log
    assert isinstance(log, MemoryLog)
    before = len(log.records)
    with pytest.raises(kind, match=names) as refused:
        call()
    assert type(refused.value) is kind
    assert len(log.records) == before


BATCHES_OF_TARGETS: dict[str, Callable[[Broker, list[Target]], Any]] = {
    "delete": lambda broker, targets: broker.delete_batch(QUEUE, targets),
    "update": lambda broker, targets: broker.update_batch(QUEUE, [(each, Change(bury=True)) for each in targets]),
    "hand over": lambda broker, targets: broker.hand_over(QUEUE, targets, {"other": ["x"]}),
}


class TestSizes:
    def test_of_a_message(self) -> None:
        broker = limited(message_bytes=10)
        broker.produce(QUEUE, ["x" * 10, "ä" * 5])
        refuses(MessageTooLargeError, broker, lambda: broker.produce(QUEUE, ["x", "x" * 11]), "at most 10")
        [message] = broker.claim(QUEUE, limit=1)
        change = Change(body="ä" * 6)
        refuses(MessageTooLargeError, broker, lambda: broker.update(QUEUE, Target(message.id), change), "has 12 bytes")

    def test_of_a_batch(self) -> None:
        broker = limited(batch_messages=3, batch_bytes=100)
        ids = broker.produce(QUEUE, ["x"] * 3)
        refuses(BatchTooLargeError, broker, lambda: broker.produce(QUEUE, ["x"] * 4), "may have 3 messages")
        refuses(BatchTooLargeError, broker, lambda: broker.produce(QUEUE, ["x" * 100] * 2), "may have 100 bytes")
        targets = [Target(each) for each in (*ids, ids[0])]
        refuses(BatchTooLargeError, broker, lambda: broker.delete_batch(QUEUE, targets), "may have 3 entries")

    @pytest.mark.parametrize("call", BATCHES_OF_TARGETS)
    def test_of_a_batch_of_targets(self, call: str) -> None:
        broker, of = limited(batch_messages=3), BATCHES_OF_TARGETS[call]
        targets = [Target(each) for each in broker.produce(QUEUE, ["x"] * 3)]
        refuses(BatchTooLargeError, broker, lambda: of(broker, [*targets, targets[0]]), "may have 3 entries")
        refuses(InvalidValueError, broker, lambda: of(broker, []), "at least one entry")
        of(broker, targets)


class TestQueues:
    def test_no_more_than_so_many(self) -> None:
        broker = limited(queues=3)  # the default queue is one of them
        broker.put_queue("a")
        broker.produce("b", ["x"])
        refuses(TooManyQueuesError, broker, lambda: broker.put_queue("c"), "There are 3 queues.*--queues")
        refuses(TooManyQueuesError, broker, lambda: broker.produce("c", ["x"]), "There are 3 queues")
        broker.put_queue("a", delay_ms=5)
        broker.produce("a", ["x"])
        broker.drop_queue("b")
        broker.put_queue("c")

    def test_those_of_the_log_stay(self) -> None:
        log = MemoryLog()
        broker = limited(log)
        for name in "abc":
            broker.produce(name, ["x"])
        again = limited(MemoryLog(log.records), queues=2)
        assert [each.name for each in again.queues()] == ["a", "b", "c", "default"]
        again.produce("a", ["y"])
        refuses(TooManyQueuesError, again, lambda: again.put_queue("d"), "There are 2 queues")


@pytest.mark.parametrize(
    ("kind", "limit", "setting"),
    [
        (QueueFullError, "messages_per_queue", "--messages-per-queue"),
        (BrokerFullError, "total_messages", "--total-messages"),
    ],
)
class TestMessages:
    def test_a_batch_that_does_not_fit_is_refused_as_a_whole(
        self, kind: type[BrokerError], limit: str, setting: str
    ) -> None:
        broker = limited(**{limit: 5})
        broker.produce(QUEUE, ["x"] * 3)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x"] * 3), f"may hold 5 messages.*raise {setting}")
        broker.produce(QUEUE, ["x"] * 2)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x"]), setting)

    def test_all_that_takes_messages_away_makes_room(self, kind: type[BrokerError], limit: str, setting: str) -> None:
        broker = limited(**{limit: 4})
        ids = broker.produce(QUEUE, ["x"] * 4, [None, 1000, None, 1000])
        [claimed] = broker.claim(QUEUE, limit=1)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x"]), setting)
        broker.delete(QUEUE, Target(receipt=claimed.receipt))
        broker.delete(QUEUE, Target(ids[1]))
        broker.produce(QUEUE, ["x"] * 2)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x"]), setting)
        broker.purge(QUEUE)
        broker.produce(QUEUE, ["x"] * 4)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x"]), setting)

    def test_replacing_bodies_goes_on(self, kind: type[BrokerError], limit: str, setting: str) -> None:
        broker = limited(**{limit: 2})
        ids = broker.produce(QUEUE, ["x"] * 2)
        broker.update(QUEUE, Target(ids[0]), Change(body="longer than before"))

    def test_a_log_that_has_more_is_used_as_it_is(self, kind: type[BrokerError], limit: str, setting: str) -> None:
        log = MemoryLog()
        limited(log).produce(QUEUE, ["x"] * 10)
        broker = limited(MemoryLog(log.records), **{limit: 5})
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["y"]), setting)
        claimed = broker.claim(QUEUE, limit=10)
        assert len(claimed) == 10
        broker.update(QUEUE, Target(claimed[0].id), Change(body="longer than before"))
        broker.delete_batch(QUEUE, [Target(each.id) for each in claimed[:6]])
        broker.produce(QUEUE, ["y"])


class TestBytes:
    @pytest.mark.parametrize(
        ("kind", "limit", "setting"),
        [
            (QueueFullError, "bytes_per_queue", "--bytes-per-queue"),
            (BrokerFullError, "total_bytes", "--total-bytes"),
        ],
    )
    def test_no_more_than_so_many(self, kind: type[BrokerError], limit: str, setting: str) -> None:
        broker = limited(**{limit: 1000})
        ids = broker.produce(QUEUE, ["x" * 400] * 2)
        refuses(kind, broker, lambda: broker.produce(QUEUE, ["x" * 200]), f"1000 bytes of messages.*raise {setting}")
        longer = [(Target(ids[0]), Change(delay_ms=5)), (Target(ids[1]), Change(body="x" * 700))]
        refuses(kind, broker, lambda: broker.update_batch(QUEUE, longer), setting)
        assert broker.count(QUEUE, "delayed") == 0
        broker.update(QUEUE, Target(ids[0]), Change(body="x"))
        broker.update_batch(QUEUE, longer)
        assert broker.queue(QUEUE).bytes <= 1000
        broker.delete(QUEUE, Target(ids[1]))
        broker.produce(QUEUE, ["x" * 900])


class TestSums:
    def test_other_queues_count_for_the_broker_and_not_for_a_queue(self) -> None:
        broker = limited(messages_per_queue=2, total_messages=3)
        broker.produce("a", ["x"] * 2)
        broker.produce("b", ["x"])
        refuses(QueueFullError, broker, lambda: broker.produce("a", ["x"]), "The queue a may hold 2")
        refuses(BrokerFullError, broker, lambda: broker.produce("b", ["x"]), "The broker may hold 3")
        refuses(BrokerFullError, broker, lambda: broker.produce("new", ["x"]), "The broker may hold 3")
        assert [each.name for each in broker.queues()] == ["a", "b", "default"]
        broker.drop_queue("a")
        broker.produce("b", ["x"])

    @pytest.mark.parametrize("seed", range(3))
    def test_they_are_those_of_all_queues(self, seed: int) -> None:
        clock, log = FakeClock(), MemoryLog()
        live_a_random_life(broker := limited(log, clock), clock, random.Random(seed), 400)
        for each in (broker, limited(MemoryLog(log.records), clock)):
            state = each.core.state
            assert state.messages == sum(len(queue.messages) for queue in state.queues.values()) > 10
            assert state.bytes == sum(queue.messages.bytes for queue in state.queues.values()) > 100


class TestInFlight:
    def test_a_consumer_gets_what_there_is_room_for(self) -> None:
        broker = limited(in_flight_per_queue=3)
        broker.produce(QUEUE, ["x"] * 5)
        assert len(broker.claim(QUEUE, limit=2)) == 2
        [third] = broker.claim(QUEUE, limit=2)
        refuses(
            TooManyInFlightError,
            broker,
            lambda: broker.claim(QUEUE),
            r"queue default has reached its limit of messages in flight \(3\)",
        )
        broker.update(QUEUE, Target(third.id), Change(visibility_timeout_ms=0))
        assert [each.id for each in broker.claim(QUEUE)] == [third.id]

    def test_an_empty_queue_is_empty_for_all_that(self) -> None:
        broker = limited(in_flight_per_queue=1)
        broker.produce(QUEUE, ["x"])
        assert len(broker.claim(QUEUE)) == 1
        assert broker.claim(QUEUE) == []

    def test_claims_that_ended_do_not_count(self) -> None:
        clock = FakeClock()
        broker = limited(None, clock, in_flight_per_queue=2)
        broker.produce(QUEUE, ["x"] * 3)
        broker.claim(QUEUE, visibility_timeout_ms=1000)
        clock.ms += 1000
        assert len(broker.claim(QUEUE)) == 2

    def test_each_queue_has_its_own(self) -> None:
        broker = limited(in_flight_per_queue=1)
        for name in ("a", "b"):
            broker.produce(name, ["x"] * 2)
            assert len(broker.claim(name)) == 1

    @pytest.mark.parametrize(
        "make_room",
        [
            lambda broker, message: broker.delete(QUEUE, Target(receipt=message.receipt)),
            lambda broker, message: broker.update(QUEUE, Target(message.id), Change(visibility_timeout_ms=0)),
            lambda broker, message: broker.update(QUEUE, Target(message.id), Change(delay_ms=100_000)),
        ],
        ids=["delete", "release", "delay"],
    )
    def test_a_long_poll_waits_for_room(self, make_room: Callable[[Broker, Message], None]) -> None:
        broker = limited(in_flight_per_queue=1)
        broker.produce(QUEUE, ["a", "b"])
        [held] = broker.claim(QUEUE, visibility_timeout_ms=43_200_000)  # no deadline may wake a consumer
        consumers = [Call(broker.claim, QUEUE, wait_s=LONG_S) for _ in range(2)]
        eventually(lambda: broker.core.consumers._count == 2)
        broker.produce(QUEUE, ["c"])  # for which there is no room either
        time.sleep(0.05)
        assert broker.core.consumers._count == 2
        make_room(broker, held)
        eventually(lambda: any(each.done for each in consumers), "one of them is served")
        assert sum(each.done for each in consumers) == 1
        broker.stop_claiming()
        assert sorted(len(each.result()) for each in consumers) == [0, 1]

    def test_a_long_poll_without_room_to_the_end_is_told_so(self) -> None:
        broker = limited(in_flight_per_queue=1)
        broker.produce(QUEUE, ["a", "b"])
        broker.claim(QUEUE, limit=1)
        refuses(TooManyInFlightError, broker, lambda: broker.claim(QUEUE, wait_s=0.1), "Delete the messages")
        assert broker.core.consumers._count == 0

    def test_those_of_the_log_stay(self) -> None:
        log, clock = MemoryLog(), FakeClock()
        broker = limited(log, clock)
        broker.produce(QUEUE, ["x"] * 5)
        claimed = broker.claim(QUEUE, limit=4, visibility_timeout_ms=10_000)
        again = limited(MemoryLog(log.records), clock, in_flight_per_queue=2)
        assert again.count(QUEUE, "processing") == 4
        refuses(TooManyInFlightError, again, lambda: again.claim(QUEUE), r"in flight \(2\)")
        for each in claimed[:2]:
            again.delete(QUEUE, Target(receipt=each.receipt))
        refuses(TooManyInFlightError, again, lambda: again.claim(QUEUE), r"in flight \(2\)")
        again.delete(QUEUE, Target(receipt=claimed[2].receipt))
        assert len(again.claim(QUEUE)) == 1


class TestListings:
    def test_no_more_than_so_many_at_once(self) -> None:
        broker = limited(listings=2)
        broker.produce(QUEUE, ["x"] * 3)
        first, second = broker.messages(QUEUE), broker.messages(QUEUE)
        next(first)
        next(second)
        with pytest.raises(TooManyListingsError, match="2 listings"):
            next(broker.messages(QUEUE))
        assert len(list(first)) == 2  # to the end
        third = broker.messages(QUEUE)
        next(third)
        second.close()
        assert len(list(broker.messages(QUEUE))) == 3
        del third  # nobody reads on
        fourth, fifth = broker.messages(QUEUE), broker.messages(QUEUE)
        assert next(fourth) == next(fifth)

    def test_one_of_all_queues_keeps_its_place_to_its_end(self) -> None:
        broker = limited(listings=1)
        for queue in ("a", "b"):
            broker.produce(queue, ["x"])
        everything = broker.messages_of_all()
        assert next(everything).queue == "a"
        with pytest.raises(TooManyListingsError):
            next(broker.messages("b"))
        assert [each.queue for each in everything] == ["b"]
        assert len(list(broker.messages("b"))) == 1

    def test_one_that_was_not_begun_does_not_count(self) -> None:
        broker = limited(listings=1)
        unread = [broker.messages(QUEUE) for _ in range(3)]
        assert list(broker.messages(QUEUE)) == []
        assert len(unread) == 3


def test_unlimited_is_more_than_anything() -> None:
    assert Limits.widest().total_messages == UNLIMITED > 1 << 60
