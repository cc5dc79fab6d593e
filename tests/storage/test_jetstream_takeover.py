"""A process that stands by reads what the owner appends, and takes the log over when its turn has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.log_streams import LogStream, replayed
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection, stream
from tests.support.waiting import PATIENCE_S
from wonderq_storage import CorruptLogError, LogClosedError, LogLostError, Position, Reached
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import StoredMessage, StreamInfo

__all__ = ["connection", "stream"]

pytestmark = needs_nats


class ScriptedTurn:
    """A turn that takes a step of a script whenever the process has read everything that it was told of."""

    def __init__(self, *steps: Callable[[], int | None]) -> None:
        self.steps = list(steps)
        self.known = 0
        self.reached: list[Reached] = []
        self.beaten_by: list[LogLostError] = []
        self.epochs: list[int] = []

    def wait(self, reached: Reached) -> int | None:
        self.reached.append(reached)
        return self.steps.pop(0)() if self.steps else None

    def known_sequence(self, _log_id: bytes | None) -> int:
        return self.known

    def beaten(self, error: LogLostError) -> None:
        assert str(error).endswith("Try again."), "whole sentences, to which others can be added"
        self.beaten_by.append(error)

    def claimed(self, epoch: int) -> None:
        self.epochs.append(epoch)


def append(log: JetStreamLog, record: bytes) -> int:
    """Append a record durably; return the sequence of its message."""
    log.wait(log.append(record))
    return log.acknowledged_sequence


def records(found: list[tuple[Position, bytes]]) -> list[bytes]:
    return [record for _, record in found]


def test_what_the_owner_appends_is_read_before_the_takeover(stream: LogStream) -> None:
    owner = stream.start()
    append(owner, b"before")
    turn = ScriptedTurn(lambda: append(owner, b"first"), lambda: append(owner, b"second"))
    follower = stream.open(turn=turn)
    found = records(replayed(follower))
    assert found == [b"before", b"first", b"second"]
    assert turn.epochs == [2]
    sequences = [each.sequence for each in turn.reached]
    assert sequences == [2, 3, 4]
    assert {each.epoch for each in turn.reached} == {1}
    assert {each.log_id for each in turn.reached} == {owner.log_id}
    follower.start()
    with pytest.raises(LogLostError):
        append(owner, b"late")
    append(follower, b"third")
    assert records(replayed(stream.open())) == [*found, b"third"]


def test_what_nobody_told_of_is_read_as_well(stream: LogStream) -> None:
    owner = stream.start()
    turn = ScriptedTurn(lambda: append(owner, b"told"), lambda: append(owner, b"silent") and None)
    assert records(replayed(stream.open(turn=turn))) == [b"told", b"silent"]


def test_a_turn_that_ends_ends_the_replay(stream: LogStream) -> None:
    owner = stream.start()

    def end() -> int:
        raise LogClosedError("it is over")

    follower = stream.open(turn=ScriptedTurn(end))
    with pytest.raises(LogClosedError):
        replayed(follower)
    append(owner, b"still the owner")


def test_a_process_that_is_beaten_goes_on_reading(stream: LogStream) -> None:
    owner = stream.start()
    others: list[JetStreamLog] = []

    def another_is_faster() -> None:
        others.append(stream.start())
        append(others[0], b"of another")

    turn = ScriptedTurn(another_is_faster, lambda: append(others[0], b"more of it"))
    follower = stream.open(turn=turn)
    found = records(replayed(follower))
    assert found == [b"of another", b"more of it"]
    assert len(turn.beaten_by) == 1, "it does not take the log from a process that has it just now"
    assert turn.epochs == [3]
    follower.start()
    for each in (owner, others[0]):
        with pytest.raises(LogLostError):
            append(each, b"late")


def test_a_race_is_decided_by_the_stream(stream: LogStream) -> None:
    """Another process appends its epoch record after this one has looked at the newest, and before its own one."""
    stream.start()
    rivals: list[JetStreamLog] = []

    def interfere(publish: Callable[[], Any]) -> Any:
        if not rivals:
            stream.jetstream.interfere = None
            rivals.append(stream.start())
        return publish()

    def prepare() -> None:
        stream.jetstream.interfere = interfere

    turn = ScriptedTurn(prepare)
    replayed(stream.open(turn=turn))
    assert len(turn.beaten_by) == 1
    assert [each.epoch for each in turn.reached] == [1, 2]
    assert turn.epochs == [3]


def test_a_stream_that_ends_before_what_was_acknowledged_is_damaged(stream: LogStream) -> None:
    owner = stream.start()
    last = append(owner, b"x")
    turn = ScriptedTurn()
    turn.known = last + 1
    follower = stream.open(turn=turn, patience_s=0.1)
    with pytest.raises(CorruptLogError, match=f"message {last + 1}.*acknowledged.*ends with message {last}"):
        replayed(follower)
    assert turn.epochs == []
    append(owner, b"nothing was changed")


def test_a_process_remembers_what_it_has_read_itself(stream: LogStream) -> None:
    owner = stream.start()

    def restore_an_old_backup() -> None:
        config = stream.jetstream.stream_info(stream.name, timeout_s=PATIENCE_S).config
        stream.call("DELETE")
        stream.jetstream.create_stream(config, timeout_s=PATIENCE_S)

    turn = ScriptedTurn(lambda: append(owner, b"read"), restore_an_old_backup)
    with pytest.raises(CorruptLogError, match=r"message 2, .*the stream ends with message 0"):
        replayed(stream.open(turn=turn, patience_s=0.1))
    assert turn.epochs == []


def test_a_record_in_a_place_that_was_acknowledged_is_damage(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader's description says that all is there, and then the epoch record gets the place of a lost message."""
    owner = stream.start()
    last = append(owner, b"x")
    turn = ScriptedTurn()
    turn.known = last + 1
    follower = stream.open(turn=turn, patience_s=0.1)
    real = follower._stream.info_reaching

    def lying(sequence: int) -> StreamInfo:
        return real(min(sequence, last))._replace(last_sequence=sequence)

    monkeypatch.setattr(follower._stream, "info_reaching", lying)
    monkeypatch.setattr(follower._stream, "messages", readable_up_to(follower, last))
    with pytest.raises(CorruptLogError, match=f"message {last + 1}.*ends with message {last + 1}"):
        replayed(follower)


def readable_up_to(log: JetStreamLog, end: int) -> Callable[[int, int], Iterator[Any]]:
    messages = log._stream.messages
    return lambda first, last: messages(first, min(last, end))


def test_parts_that_the_owner_drops_meanwhile_are_no_parts_of_the_next_owner(stream: LogStream) -> None:
    owner = stream.start()

    def fill() -> int:
        for _ in range(3):
            append(owner, bytes(3000))
        return owner.acknowledged_sequence

    def drop() -> int:
        while (oldest := owner.oldest()) is not None:
            owner.trim(oldest[0])
        return append(owner, b"new")

    follower = stream.open(turn=ScriptedTurn(fill, fill, drop))
    found = records(replayed(follower))
    assert found.count(bytes(3000)) == 6
    follower.start()
    assert follower.used_bytes() == stream.jetstream.stream_info(stream.name, timeout_s=5).bytes
    first = follower._parts[0].sequence
    assert first >= stream.jetstream.stream_info(stream.name, timeout_s=5).first_sequence
    assert len(follower._parts) <= 2
    follower.rotate()
    follower.sync()
    oldest = follower.oldest()
    assert oldest is not None
    list(oldest[1])
    follower.trim(oldest[0])


def test_what_the_owner_is_known_to_have_acknowledged(stream: LogStream) -> None:
    log = stream.open()
    assert (log.log_id, log.acknowledged_sequence, log.epoch) == (b"", 0, 0)
    replayed(log)
    log.start()
    assert (log.acknowledged_sequence, log.epoch) == (1, 1)
    log.append(b"x")
    assert log.acknowledged_sequence == 1
    log.sync()
    assert log.acknowledged_sequence == 2
    assert len(log.log_id) == 16


def test_a_leader_that_does_not_have_everything_yet_is_asked_again(stream: LogStream) -> None:
    """After an election the new leader may answer before it has applied what it has."""
    owner = stream.start()
    last = append(owner, b"told")
    told = stream.jetstream.get(stream.name, last, timeout_s=PATIENCE_S)
    assert told is not None
    payload = told.payload
    hidden: list[StoredMessage] = []

    def hide(message: StoredMessage) -> StoredMessage | None:
        if message.payload == payload and len(hidden) < 3:
            hidden.append(message)
            return None
        return message

    stream.jetstream.tamper = hide
    assert records(replayed(stream.open())) == [b"told"]
    assert len(hidden) >= 2, "neither a replica nor the leader had it at first"


def test_a_leader_that_ends_too_early_is_asked_again(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = stream.start()
    last = append(owner, b"told")
    follower = stream.open(turn=ScriptedTurn(lambda: append(owner, b"later")))
    asked: list[int] = []
    info = stream.jetstream.stream_info
    get = stream.jetstream.get

    def behind(name: str, *, timeout_s: float) -> StreamInfo:
        found = info(name, timeout_s=timeout_s)
        asked.append(found.last_sequence)
        return found._replace(last_sequence=last) if 1 < len(asked) < 5 else found

    def without(name: str, sequence: int, *, timeout_s: float) -> StoredMessage | None:
        return get(name, sequence, timeout_s=timeout_s) if len(asked) >= 5 or sequence <= last else None

    monkeypatch.setattr(stream.jetstream, "stream_info", behind)
    monkeypatch.setattr(stream.jetstream, "get", without)
    monkeypatch.setattr(stream.jetstream, "replica_has", last)
    assert records(replayed(follower)) == [b"told", b"later"]
