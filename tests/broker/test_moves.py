"""Single messages that move to where they came from, or to another queue, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.conftest import Lasting
from tests.support.clock import FakeClock
from wonderq.broker import moves
from wonderq.broker.broker import Broker
from wonderq.broker.transfers import Transfer, Transfers
from wonderq.model.errors import (
    InvalidValueError,
    MessageNotFoundError,
    NotMovableError,
    NotPermittedError,
    OtherQueueError,
    QueueNotFoundError,
)
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.state.state import Queue


@pytest.fixture
def broker(broker: Broker) -> Broker:
    broker.put_queue("dead")
    broker.put_queue("mail", max_receives=1, dead_letter_queue="dead")
    return broker


def dead_letters(broker: Broker, *bodies: str) -> list[str]:
    """Make dead letters of the queue ``mail``; return their ids in ``dead``."""
    broker.send("mail", [NewMessage(body, group="g", priority=2) for body in bodies])
    for message in broker.claim("mail", limit=len(bodies)):
        broker.update("mail", Target(receipt=message.receipt), Change(visibility_timeout_ms=0))
    while broker.claim("mail") or broker.remove_dead_letters():
        pass
    return [message.id for message in broker.messages("dead")]


def kinds(outcomes: list[moves.Outcome]) -> list[type | None]:
    return [None if each is None else type(each) for each in outcomes]


def contents(broker: Broker, queue: str) -> list[str]:
    return [message.body for message in broker.messages(queue)]


def test_dead_letters_go_back_as_they_were(broker: Broker) -> None:
    ids = dead_letters(broker, "a", "b", "c")
    assert broker.move("dead", [ids[2], ids[0]]) == [None, None]
    assert contents(broker, "dead") == ["b"]
    found: list[Message] = list(broker.messages("mail"))
    assert sorted(message.body for message in found) == ["a", "c"]
    for message in found:
        assert message.envelope is not None
        assert (message.envelope.group, message.envelope.priority, message.receives) == ("g", 2, 0)
        assert message.envelope.dead_letter_source is None
    assert broker.redrives.list("dead") == [], "there is no task"


def test_each_message_that_stays_has_its_reason(broker: Broker, clock: FakeClock) -> None:
    [first] = dead_letters(broker, "a")
    plain, delayed = [sent.id for sent in broker.send("dead", [NewMessage("plain"), NewMessage("x", delay_ms=5000)])]
    elsewhere = broker.produce("mail", ["elsewhere"])[0]
    [claimed] = broker.claim("dead", limit=1)
    assert claimed.id == first
    gone = broker.produce("dead", ["gone"])[0]
    broker.delete("dead", Target(id=gone))
    outcomes = broker.move("dead", [first, plain, delayed, elsewhere, gone, "nonsense"])
    expected = [NotMovableError, NotMovableError, NotMovableError, OtherQueueError, MessageNotFoundError]
    assert kinds(outcomes) == [*expected, MessageNotFoundError]
    assert broker.count("dead", "processing") == 1
    clock.advance(31)
    assert broker.move("dead", [first, first])[0] is None
    assert contents(broker, "mail").count("a") == 1


def test_buried_messages_move_and_a_destination_takes_all(broker: Broker) -> None:
    [message_id] = broker.produce("mail", ["x"])
    broker.update("mail", Target(id=message_id), Change(bury=True))
    broker.put_queue("other")
    assert broker.move("mail", [message_id], "other") == [None]
    assert (contents(broker, "mail"), contents(broker, "other")) == ([], ["x"])


def test_a_message_whose_queue_was_deleted_stays(broker: Broker) -> None:
    ids = dead_letters(broker, "a")
    broker.drop_queue("mail")
    assert kinds(broker.move("dead", ids)) == [NotMovableError]
    assert contents(broker, "dead") == ["a"]


def test_a_request_that_cannot_work_moves_nothing(broker: Broker) -> None:
    ids = dead_letters(broker, "a")
    with pytest.raises(QueueNotFoundError):
        broker.move("nothing", ids)
    with pytest.raises(QueueNotFoundError):
        broker.move("dead", ids, "nothing")
    with pytest.raises(InvalidValueError):
        broker.move("dead", ids, "dead")
    with pytest.raises(NotPermittedError):
        broker.move("dead", ids, permits=lambda queue: queue == "dead")
    assert contents(broker, "dead") == ["a"]


def test_many_messages_move_in_portions_of_which_each_is_one_write(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [sent.id for sent in broker.send("dead", [NewMessage("x" * 40_000) for _ in range(20)])]
    sizes: list[int] = []
    move = Transfers.move

    def spy(self: Transfers, queue: Queue, now_ms: int, transfers: list[Transfer], *, leave: int) -> None:
        sizes.append(len(transfers))
        move(self, queue, now_ms, transfers, leave=leave)

    monkeypatch.setattr(Transfers, "move", spy)
    assert set(broker.move("dead", [*ids, "nonsense"], "mail")[:20]) == {None}
    assert sum(sizes) == 20
    assert max(sizes) <= 6, "at most 256 KiB at a time"


def test_a_message_that_changes_while_it_is_read_stays(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = dead_letters(broker, "a")
    load = broker._reader.load

    def load_late(queue: object, views: object) -> object:
        found = load(queue, views)  # type: ignore[arg-type]
        broker.claim("dead")
        return found

    monkeypatch.setattr(broker._reader, "load", load_late)
    assert kinds(broker.move("dead", ids)) == [NotMovableError]
    assert contents(broker, "dead") == ["a"]


def test_messages_that_compaction_moves_while_they_are_read_move_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing about them has changed that a client could see."""
    lasting = Lasting(tmp_path / "log", "as it is")
    broker = lasting.broker
    broker.put_queue("mail")
    broker.put_queue("dead")
    ids = lasting.add("dead", "a", "b", "c")
    claimed = lasting.take("dead", 1)[0].id
    load, views_of = broker._reader.load, list[list[object]]()

    def load_late(queue: object, views: list[object]) -> object:
        found = load(queue, views)  # type: ignore[arg-type]
        views_of.append(views)
        if len(views_of) < 3:
            lasting._compact()
        return found

    monkeypatch.setattr(broker._reader, "load", load_late)
    outcomes = broker.move("dead", [claimed, ids[1], ids[2], ids[1]], "mail")
    assert kinds(outcomes) == [NotMovableError, None, None, NotMovableError]
    assert [len(views) for views in views_of] == [3, 3, 3]
    assert (contents(broker, "dead"), contents(broker, "mail")) == (["a"], ["b", "c"])
    broker.close()


def test_a_message_that_gets_other_contents_while_it_is_read_moves_with_them(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [sent.id for sent in broker.send("dead", [NewMessage("a"), NewMessage("b")])]
    load, updates = broker._reader.load, [ids[1]]

    def load_late(queue: object, views: object) -> object:
        found = load(queue, views)  # type: ignore[arg-type]
        while updates:
            broker.update("dead", Target(id=updates.pop()), Change(body="new"))
        return found

    monkeypatch.setattr(broker._reader, "load", load_late)
    assert broker.move("dead", ids, "mail") == [None, None]
    assert contents(broker, "mail") == ["a", "new"]
