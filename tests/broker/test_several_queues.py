"""One poll of several queues: in order, or by weight."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.broker.conftest import Lasting
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.polls import Sources
from wonderq.model.errors import QueueNotFoundError, TooManyInFlightError, TooManyWaitingError
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, Target

IN_ORDER = Sources(("urgent", "jobs", "rest"))


def places(messages: list[Message]) -> list[str]:
    return [f"{message.queue} {message.body}" for message in messages]


def test_a_queue_is_asked_once_those_before_it_are_empty(lasting: Lasting) -> None:
    for queue in IN_ORDER.queues:
        lasting.add(queue, "1", "2")
    first = lasting.again().claim_from(IN_ORDER, ClaimOptions(limit=3))
    assert places(first) == ["urgent 1", "urgent 2", "jobs 1"]
    lasting.add("urgent", "3")
    rest = lasting.again().claim_from(IN_ORDER, ClaimOptions(limit=10, visibility_timeout_ms=60_000))
    assert places(rest) == ["urgent 3", "jobs 2", "rest 1", "rest 2"]
    assert {message.due_ms for message in rest} == {lasting.clock.ms + 60_000}
    for message in (*first, *rest):
        lasting.broker.delete(message.queue, Target(receipt=message.receipt))
    assert lasting.again().claim_from(IN_ORDER) == []


def test_each_queue_has_its_own_timeout_and_limits(lasting: Lasting) -> None:
    for queue in IN_ORDER.queues:
        lasting.add(queue, "1", "2")
    lasting.broker.put_queue("urgent", max_in_flight=1, visibility_timeout_ms=5_000)
    lasting.broker.put_queue("jobs", paused=True)
    messages = lasting.again().claim_from(IN_ORDER)
    assert places(messages) == ["urgent 1", "rest 1", "rest 2"]
    assert [(message.due_ms or 0) - lasting.clock.ms for message in messages] == [5_000, 30_000, 30_000]
    with pytest.raises(TooManyInFlightError, match="urgent"):
        lasting.broker.claim_from(IN_ORDER)


def test_one_response_has_no_more_bytes_than_that_of_one_queue(lasting: Lasting) -> None:
    for queue in IN_ORDER.queues:
        lasting.add(queue, "x" * 600)
    lasting.limit(Limits(batch_bytes=1_000))
    assert [message.queue for message in lasting.broker.claim_from(IN_ORDER)] == ["urgent"]
    lasting.limit(Limits(batch_bytes=1_300))
    assert [message.queue for message in lasting.broker.claim_from(IN_ORDER)] == ["jobs", "rest"]


class Room:
    """Room for a response, as a connection has it."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes
        self.taken_bytes = 0

    def take(self, size: int) -> None:
        self.taken_bytes = size

    fit = take


def test_the_room_is_that_of_all_messages_together(lasting: Lasting) -> None:
    for queue in IN_ORDER.queues:
        lasting.add(queue, "x" * 600)
    room = Room(1_300)
    messages = lasting.broker.claim_from(IN_ORDER, ClaimOptions(room=room))
    assert [message.queue for message in messages] == ["urgent", "jobs"]
    assert 1_200 < room.taken_bytes < 1_300


def test_by_weight(lasting: Lasting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "expovariate", random.Random(7).expovariate)
    for queue in ("a", "b"):
        lasting.add(queue, *map(str, range(700)))
    sources = Sources(("a", "b"), (3, 1))
    found = Counter(lasting.broker.claim_from(sources, ClaimOptions(limit=1))[0].queue for _ in range(800))
    assert 540 < found["a"] < 660, found
    lasting.broker.purge("a")
    assert {message.queue for message in lasting.again().claim_from(sources, ClaimOptions(limit=100))} == {"b"}


@pytest.mark.usefixtures("woken_only")
@pytest.mark.parametrize("queue", IN_ORDER.queues)
def test_a_message_of_any_queue_ends_the_wait(lasting: Lasting, queue: str) -> None:
    for name in IN_ORDER.queues:
        lasting.broker.put_queue(name)
    broker = lasting.again()
    call: Call[list[Message]] = Call(broker.claim_from, IN_ORDER, ClaimOptions(wait_s=20))
    eventually(lambda: broker.waiting_consumers == 1)
    broker.produce(queue, ["1"])
    assert places(call.result()) == [f"{queue} 1"]
    assert broker.waiting_consumers == 0


def test_a_deadline_in_any_queue_ends_the_wait(lasting: Lasting) -> None:
    for name in IN_ORDER.queues:
        lasting.broker.put_queue(name)
    broker = lasting.again()
    broker.produce("rest", ["1"], [500])
    call: Call[list[Message]] = Call(broker.claim_from, IN_ORDER, ClaimOptions(wait_s=20))
    eventually(lambda: broker.waiting_consumers == 1)
    lasting.clock.ms += 500
    broker.produce("jobs", ["2"], [500])
    broker.put_queue("rest", paused=False)
    assert places(call.result()) == ["rest 1"]


def test_it_waits_once_however_many_queues_it_asks(lasting: Lasting) -> None:
    for name in IN_ORDER.queues:
        lasting.broker.put_queue(name)
    broker = lasting.again()
    broker.core.consumers._limit = 1
    call: Call[list[Message]] = Call(broker.claim_from, IN_ORDER, ClaimOptions(wait_s=20))
    eventually(lambda: broker.waiting_consumers == 1)
    with pytest.raises(TooManyWaitingError):
        broker.claim_from(IN_ORDER, ClaimOptions(wait_s=20))
    broker.produce("rest", ["1"])
    assert places(call.result()) == ["rest 1"]


def test_a_missing_queue_is_named_even_if_another_has_messages(lasting: Lasting) -> None:
    lasting.add("urgent", "1")
    with pytest.raises(QueueNotFoundError, match="nowhere"):
        lasting.broker.claim_from(Sources(("urgent", "nowhere")))
    assert lasting.again().count("urgent", "unprocessed") == 1


def test_a_queue_that_is_deleted_during_the_wait_ends_it(lasting: Lasting) -> None:
    for name in IN_ORDER.queues:
        lasting.broker.put_queue(name)
    broker = lasting.again()
    call: Call[list[Message]] = Call(broker.claim_from, IN_ORDER, ClaimOptions(wait_s=20))
    eventually(lambda: broker.waiting_consumers == 1)
    broker.drop_queue("jobs")
    with pytest.raises(QueueNotFoundError, match="jobs"):
        call.result()
    assert broker.waiting_consumers == 0


def test_a_repeated_attempt_gets_the_same_messages_and_no_others(lasting: Lasting) -> None:
    for queue in IN_ORDER.queues:
        lasting.add(queue, "1")
    options = ClaimOptions(limit=2, attempt_id="a")
    first = lasting.broker.claim_from(IN_ORDER, options)
    assert places(first) == ["urgent 1", "jobs 1"]
    lasting.add("urgent", "2")
    again = lasting.again().claim_from(IN_ORDER, options)
    assert [message.receipt for message in again] == [message.receipt for message in first]
    lasting.broker.delete("urgent", Target(receipt=first[0].receipt))
    assert places(lasting.again().claim_from(IN_ORDER, options)) == ["jobs 1"]
