"""Consumers that wait: each message wakes one of them, in turn, and none is given to a client that has gone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import chain

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.model.errors import QueueNotFoundError, ShuttingDownError, TooManyWaitingError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, Target

#: Longer than a test waits for its result: what comes only when this runs out is a failure.
LONG_S = 4 * PATIENCE_S
QUEUE = "default"


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker(MemoryLog(), limits=Limits(waiting_consumers=8, wait_s=2 * LONG_S))
    yield broker
    broker.stop_claiming()
    eventually(lambda: broker.core.consumers._count == 0, "the end of all waiting")
    assert not any(broker.core.consumers._waiters.values())


class Consumer(Call[list[Message]]):
    """A consumer in a thread that waits for a message; made when it stands in line."""

    def __init__(
        self,
        broker: Broker,
        queue: str = QUEUE,
        *,
        limit: int = 1,
        wait_s: float = LONG_S,
        attempt_id: str | None = None,
    ) -> None:
        self.attempts = 0
        self.gone = threading.Event()
        before = broker.core.consumers._count
        options = {"wait_s": wait_s, "client_gone": self._client_gone, "attempt_id": attempt_id}
        super().__init__(broker.claim, queue, limit=limit, **options)
        eventually(lambda: broker.core.consumers._count > before or self.done, "standing in line")

    def _client_gone(self) -> bool:
        self.attempts += 1
        return self.gone.is_set()


def bodies(messages: list[Message]) -> list[str]:
    return [message.body for message in messages]


def test_a_waiting_message_is_taken_without_waiting(broker: Broker) -> None:
    broker.produce(QUEUE, ["a"])
    assert bodies(Call(broker.claim, QUEUE, wait_s=LONG_S).result()) == ["a"]
    assert broker.core.consumers._count == 0


def test_waiting_ends_with_nothing(broker: Broker) -> None:
    began = time.monotonic()
    assert broker.claim(QUEUE, wait_s=0.2) == []
    assert time.monotonic() - began >= 0.2
    assert broker.core.consumers._count == 0


def test_one_message_wakes_one_waiter(broker: Broker) -> None:
    consumers = [Consumer(broker) for _ in range(5)]
    for turn in range(1, 6):
        broker.produce(QUEUE, ["a"])
        eventually(lambda: sum(consumer.done for consumer in consumers) == turn)  # noqa: B023
        # The one that was served tried twice; of the others, the new first in line may have checked the deadline.
        assert sum(consumer.attempts == 1 for consumer in consumers) >= 5 - turn - 1
    assert [bodies(consumer.result()) for consumer in consumers] == [["a"]] * 5


def test_first_come_first_served(broker: Broker) -> None:
    consumers = [Consumer(broker) for _ in range(6)]
    for turn, consumer in enumerate(consumers):
        broker.produce(QUEUE, [f"message {turn}"])
        assert bodies(consumer.result()) == [f"message {turn}"]
        assert not any(each.done for each in consumers[turn + 1 :])


def test_a_batch_is_shared_by_those_who_wait(broker: Broker) -> None:
    consumers = [Consumer(broker, limit=2) for _ in range(4)]
    broker.produce(QUEUE, [str(n) for n in range(7)])
    found = [bodies(consumer.result()) for consumer in consumers]
    assert sorted(chain(*found)) == [str(n) for n in range(7)]
    assert sorted(map(len, found)) == [1, 2, 2, 2]


def test_each_queue_has_its_own_line(broker: Broker) -> None:
    broker.put_queue("other")
    first, second = Consumer(broker), Consumer(broker, "other")
    broker.produce("other", ["a"])
    assert bodies(second.result()) == ["a"]
    assert not first.done
    broker.produce(QUEUE, ["b"])
    assert bodies(first.result()) == ["b"]


def test_a_message_goes_on_to_the_next_when_the_client_has_gone(broker: Broker) -> None:
    left, also_left, there = (Consumer(broker) for _ in range(3))
    left.gone.set()
    also_left.gone.set()
    broker.produce(QUEUE, ["a"])
    assert bodies(there.result()) == ["a"]
    assert left.result() == also_left.result() == []
    assert broker.count(QUEUE, "processing") == 1
    assert [message.receives for message in broker.messages(QUEUE)] == [1]


def test_a_message_stays_when_all_clients_have_gone(broker: Broker) -> None:
    left = Consumer(broker)
    left.gone.set()
    broker.produce(QUEUE, ["a"])
    assert left.result() == []
    assert broker.count(QUEUE, "unprocessed") == 1
    assert [message.receives for message in broker.messages(QUEUE)] == [0]


def test_a_client_that_is_gone_at_once_gets_nothing(broker: Broker) -> None:
    broker.produce(QUEUE, ["a"])
    assert broker.claim(QUEUE, client_gone=lambda: True) == []
    assert broker.count(QUEUE, "unprocessed") == 1


def test_a_repeated_attempt_ends_the_one_that_still_waits(broker: Broker) -> None:
    """A connection may break without the broker's notice. A message for it would be held until the end of its claim."""
    broker.produce("other", ["x"])
    silent = Consumer(broker, attempt_id="one")
    others = [
        Consumer(broker, attempt_id="two"),
        Consumer(broker),
        Call(broker.claim, "other", attempt_id="one", limit=1),
    ]
    assert broker.claim(QUEUE, attempt_id="one") == [], "without a wait, as after a cancelled poll"
    assert silent.result() == []
    broker.produce(QUEUE, ["a", "b", "c"])
    assert sorted(bodies([each for call in others for each in call.result()])) == ["a", "b", "x"]
    assert bodies(broker.claim(QUEUE, attempt_id="one")) == ["c"]
    assert broker.core.consumers._attempts == {}


def test_each_repetition_of_an_attempt_ends_the_one_before(broker: Broker) -> None:
    first = Consumer(broker, attempt_id="one")
    second = Call(broker.claim, QUEUE, attempt_id="one", wait_s=LONG_S)
    assert first.result() == []
    third = Call(broker.claim, QUEUE, attempt_id="one", wait_s=LONG_S)
    assert second.result() == []
    broker.produce(QUEUE, ["a"])
    assert bodies(third.result()) == ["a"]
    assert bodies(broker.claim(QUEUE, attempt_id="one")) == ["a"], "the same again"


def test_whenever_an_attempt_is_repeated_nothing_is_claimed_for_the_first_alone(broker: Broker) -> None:
    """The message comes before the repetition, after it, or at any time beside it."""
    chance = random.Random(17)

    def produce_after(turns: int) -> None:
        for _ in range(turns):
            broker.count(QUEUE, "unprocessed")
        broker.produce(QUEUE, ["a"])

    for number in range(90):
        first = Consumer(broker, attempt_id=str(number))
        producing: Call[None] | None = None
        if number % 3 < 2:
            producing = Call(produce_after, chance.randrange(20))
        if number % 3 == 0:
            assert bodies(first.result()) == ["a"]
        again = broker.claim(QUEUE, attempt_id=str(number))
        (producing or Call(produce_after, 0)).result()
        got = first.result()
        if got:
            assert [each.receipt for each in again] == [each.receipt for each in got]
        assert bodies(again) + bodies(broker.claim(QUEUE)) == ["a"]
        broker.purge(QUEUE)


def test_whoever_runs_out_of_time_hands_over(broker: Broker) -> None:
    """The first in line watches the deadlines; when it leaves, the next has to."""
    broker.produce(QUEUE, ["a"])
    broker.claim(QUEUE, visibility_timeout_ms=700)
    hasty = Consumer(broker, wait_s=0.2)
    patient = Consumer(broker)
    assert hasty.result() == []
    assert bodies(patient.result()) == ["a"]


def test_the_end_of_a_claim_wakes_a_waiter(broker: Broker) -> None:
    broker.produce(QUEUE, ["a"])
    [first] = broker.claim(QUEUE, visibility_timeout_ms=300)
    [again] = Consumer(broker).result()
    assert again.id == first.id
    assert again.receives == 2
    assert first.due_ms is not None
    assert again.due_ms is not None
    assert again.due_ms - 30_000 >= first.due_ms, "not before the deadline"


def test_the_ends_of_many_claims_wake_as_many_waiters(broker: Broker) -> None:
    broker.produce(QUEUE, [str(n) for n in range(6)])
    for n in range(6):
        broker.claim(QUEUE, limit=1, visibility_timeout_ms=300 + 20 * n)
    consumers = [Consumer(broker) for _ in range(6)]
    assert sorted(chain(*(bodies(consumer.result()) for consumer in consumers))) == [str(n) for n in range(6)]


def test_the_end_of_a_delay_wakes_a_waiter(broker: Broker) -> None:
    consumer = Consumer(broker)
    broker.produce(QUEUE, ["a"], [300])
    [message] = consumer.result()
    assert message.due_ms is not None
    assert message.due_ms - 30_000 >= message.produced_ms + 300


def test_an_earlier_deadline_counts_for_one_who_waits_already(broker: Broker) -> None:
    broker.produce(QUEUE, ["late"], [3_600_000])
    consumer = Consumer(broker)
    broker.produce(QUEUE, ["soon"], [200])
    assert bodies(consumer.result()) == ["soon"]


@pytest.mark.parametrize(
    "change",
    [Change(visibility_timeout_ms=0), Change(visibility_timeout_ms=200), Change(delay_ms=0), Change(delay_ms=200)],
)
def test_giving_a_message_back_wakes_a_waiter(broker: Broker, change: Change) -> None:
    broker.produce(QUEUE, ["a"])
    [message] = broker.claim(QUEUE, visibility_timeout_ms=3_600_000)
    consumer = Consumer(broker)
    broker.update(QUEUE, Target(receipt=message.receipt), change)
    assert bodies(consumer.result()) == ["a"]


def test_claims_without_a_timeout_wake_the_next(broker: Broker) -> None:
    consumer = Consumer(broker)
    broker.put_queue(QUEUE, visibility_timeout_ms=0)
    other = Consumer(broker)
    broker.produce(QUEUE, ["a"])
    assert bodies(consumer.result()) == bodies(other.result()) == ["a"]


def test_those_who_wait_for_a_dropped_queue_are_refused(broker: Broker) -> None:
    broker.put_queue("other")
    consumers = [Consumer(broker, "other") for _ in range(4)]
    broker.drop_queue("other")
    for consumer in consumers:
        with pytest.raises(QueueNotFoundError):
            consumer.result()
    assert broker.core.consumers._count == 0
    broker.put_queue("other")
    assert not broker.core.consumers._waiters


def test_a_purge_leaves_those_who_wait_waiting(broker: Broker) -> None:
    broker.produce(QUEUE, ["a"])
    broker.claim(QUEUE, visibility_timeout_ms=300)
    consumer = Consumer(broker)
    assert broker.purge(QUEUE) == 1
    broker.produce(QUEUE, ["b"])
    assert bodies(consumer.result()) == ["b"]


def test_stopping_answers_all_who_wait(broker: Broker) -> None:
    broker.put_queue("other")
    consumers = [Consumer(broker, queue) for queue in (QUEUE, "other") * 3]
    broker.stop_claiming()
    assert [consumer.result() for consumer in consumers] == [[]] * 6
    broker.produce(QUEUE, ["a"])
    for wait_s in (0, LONG_S):
        with pytest.raises(ShuttingDownError):
            broker.claim(QUEUE, wait_s=wait_s)
    assert broker.count(QUEUE, "unprocessed") == 1
    assert broker.unready == "shutting down"


def test_too_many_waiting(broker: Broker) -> None:
    consumers = [Consumer(broker) for _ in range(8)]
    with pytest.raises(TooManyWaitingError):
        broker.claim(QUEUE, wait_s=LONG_S)
    assert broker.claim(QUEUE) == [], "whoever does not wait is welcome"
    assert broker.core.consumers._count == 8
    broker.produce(QUEUE, ["a"])
    assert bodies(consumers[0].result()) == ["a"]
    eventually(lambda: broker.core.consumers._count == 7)
    another = Consumer(broker)
    broker.produce(QUEUE, ["b"] * 8)
    assert bodies(another.result()) == ["b"]


def test_no_wake_up_is_lost_under_load(broker: Broker) -> None:
    """Messages come one at a time while several consumers wait: after a lost wake-up a consumer would time out."""
    taken: list[str] = []
    total = 400

    def consume() -> None:
        while (found := broker.claim(QUEUE, limit=1, wait_s=LONG_S)) and found[0].body != "end":
            taken.append(found[0].id)
            broker.delete(QUEUE, Target(receipt=found[0].receipt))

    consumers = [Call(consume) for _ in range(6)]
    for n in range(total):
        broker.produce(QUEUE, [str(n)])
        if n % 10 == 0:
            eventually(lambda: len(taken) == n + 1, f"the taking of message {n}")  # noqa: B023
    broker.produce(QUEUE, ["end"] * 6)
    for consumer in consumers:
        consumer.result()
    assert len(taken) == len(set(taken)) == total


@pytest.mark.usefixtures("woken_only")
def test_a_purge_makes_room_in_flight_for_those_who_wait() -> None:
    """A message that was produced since the purge began is there for them."""
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.put_queue("q", max_in_flight=1)
    broker.produce("q", ["held", "new"])
    broker.claim("q", limit=1)
    waiting = Call(broker.claim, "q", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    with broker.core.transaction as now_ms:
        broker.purge.__self__._purge_portion(broker.core.find_queue("q"), 1, now_ms)  # type: ignore[attr-defined]
    assert [message.body for message in waiting.result()] == ["new"]
