"""Messages that are put aside by hand or since they were claimed too often, and their way back; and waiting ever longer."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.errors import InvalidValueError, MessageNotFoundError, StaleReceiptError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, NewMessage, Target

BURY = Change(bury=True)


def test_a_buried_message_is_kept_and_not_given_out(lasting: Lasting) -> None:
    one, _ = lasting.add("q", "1", "2")
    lasting.broker.update("q", Target(id=one), BURY)
    broker = lasting.again()
    assert broker.queue("q").counts == {"unprocessed": 1, "processing": 0, "delayed": 0, "buried": 1}
    assert [message.body for message in broker.messages("q", status="buried")] == ["1"]
    assert broker.count("q", "buried") == 1
    assert lasting.bodies("q") == "2"
    lasting.clock.ms += 10**9
    assert broker.get("q", one).status == "buried"
    assert broker.get("q", one).due_ms is None


def test_burying_takes_it_from_whoever_holds_it(lasting: Lasting) -> None:
    lasting.add("q", "1")
    (held,) = lasting.take("q")
    lasting.broker.update("q", Target(receipt=held.receipt), BURY)
    lasting.again()
    with pytest.raises(StaleReceiptError):
        lasting.broker.delete("q", Target(receipt=held.receipt))
    lasting.clock.ms += 10_000
    assert lasting.bodies("q") == "", "its old deadline means nothing any more"


@pytest.mark.parametrize("priority", [0, 4])
def test_kick_lets_the_oldest_go_first_and_not_more_than_wanted(lasting: Lasting, priority: int) -> None:
    ids = lasting.add("q", "1", "2", "3", "4", priority=priority)
    for message_id in reversed(ids[:3]):
        lasting.broker.update("q", Target(id=message_id), BURY)
    assert lasting.again().kick("q", 2) == 2
    lasting.again()
    assert lasting.bodies("q") == "1 2 4"
    assert lasting.again().kick("q", 10) == 1
    assert lasting.broker.kick("q", 10) == 0
    assert lasting.bodies("q") == "3"


def test_what_is_kicked_counts_as_never_received(lasting: Lasting) -> None:
    lasting.add("q", "1")
    for _ in range(3):
        (held,) = lasting.take("q")
        lasting.clock.ms += 10_000
    lasting.broker.update("q", Target(id=held.id), BURY)
    lasting.again()
    assert lasting.broker.get("q", held.id).receives == 3
    lasting.broker.kick("q", 1)
    lasting.again()
    kicked = lasting.broker.get("q", held.id)
    assert (kicked.receives, kicked.first_claimed_ms, kicked.status) == (0, 0, "unprocessed")
    lasting.clock.ms += 5
    (again,) = lasting.take("q")
    lasting.again()
    assert (again.receives, again.first_claimed_ms) == (1, lasting.clock.ms)


def test_a_buried_message_can_be_changed_deleted_and_brought_back_by_its_id(lasting: Lasting) -> None:
    one, two, three = lasting.add("q", "1", "2", "3")
    for message_id in (one, two, three):
        lasting.broker.update("q", Target(id=message_id), BURY)
    lasting.again()
    lasting.broker.update("q", Target(id=one), Change(body="one"))
    lasting.broker.delete("q", Target(id=two))
    lasting.broker.update("q", Target(id=three), Change(delay_ms=0))
    lasting.again()
    assert lasting.bodies("q") == "3"
    assert [(message.body, message.status) for message in lasting.broker.messages("q")] == [
        ("one", "buried"),
        ("3", "processing"),
    ]
    with pytest.raises(MessageNotFoundError):
        lasting.broker.get("q", two)


def test_bury_and_a_new_body_at_once(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    lasting.broker.update("q", Target(id=one), Change(bury=True, body="why it failed"))
    message = lasting.again().get("q", one)
    assert (message.body, message.status) == ("why it failed", "buried")


def test_waiting_twice_as_long_each_time(lasting: Lasting) -> None:
    lasting.add("q", "1")
    waited = []
    for _ in range(5):
        (held,) = lasting.take("q")
        lasting.broker.update("q", Target(receipt=held.receipt), Change(backoff_ms=3_000))
        lasting.again()
        due_ms = lasting.broker.get("q", held.id).due_ms
        assert due_ms is not None
        waited.append(due_ms - lasting.clock.ms)
        assert lasting.bodies("q") == ""
        lasting.clock.ms = due_ms
    assert waited == [3_000, 6_000, 12_000, 24_000, 48_000]


@pytest.mark.parametrize(("limit_ms", "most_ms"), [(Limits().delay_ms, 43_200_000), (60_000, 60_000)])
def test_not_longer_than_may_be(lasting: Lasting, limit_ms: int, most_ms: int) -> None:
    lasting.limit(Limits(delay_ms=limit_ms))
    (message_id,) = lasting.add("q", "1")
    for _ in range(60):
        lasting.take("q", timeout_ms=0)
    lasting.again()
    lasting.broker.update("q", Target(id=message_id), Change(backoff_ms=1_000))
    assert lasting.broker.get("q", message_id).due_ms == lasting.clock.ms + most_ms


@pytest.mark.parametrize(
    "change",
    [
        Change(bury=True, delay_ms=0),
        Change(bury=True, visibility_timeout_ms=1),
        Change(backoff_ms=1, delay_ms=1),
        Change(backoff_ms=1, visibility_timeout_ms=0),
        Change(backoff_ms=-1),
    ],
)
def test_what_excludes_each_other_is_refused(lasting: Lasting, change: Change) -> None:
    (one,) = lasting.add("q", "1")
    with pytest.raises(InvalidValueError):
        lasting.broker.update("q", Target(id=one), change)
    assert lasting.again().get("q", one).status == "unprocessed"


@pytest.mark.parametrize("limit", [0, 1001])
def test_kick_takes_as_many_as_a_batch_may_have(lasting: Lasting, limit: int) -> None:
    with pytest.raises(InvalidValueError):
        lasting.broker.kick("default", limit)


def test_buried_messages_take_room(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_messages=1)
    (one,) = lasting.add("q", "1")
    lasting.broker.update("q", Target(id=one), BURY)
    lasting.again()
    with pytest.raises(Exception, match="max_messages"):
        lasting.broker.send("q", [NewMessage("2")])
