"""JetStreamLog beyond the contract: another writer, unknown outcomes, damage in the stream, lagging replicas."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.fake_nats import FakeNats
from tests.support.log_streams import MAX_RECORD_BYTES, PART_BYTES, LogStream, Publish, replayed
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection, stream
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    LogMovedError,
    Mark,
    Position,
    StaleMarkError,
    TrimmedError,
    UnsupportedFormatError,
    jetstream_frame,
    jetstream_stream,
)
from wonderq_storage.errors import UnsuitableStreamError
from wonderq_storage.jetstream_appender import append_headers
from wonderq_storage.jetstream_cache import ENTRY_BYTES
from wonderq_storage.jetstream_log import _GROUP_COST_BYTES, JetStreamLog
from wonderq_storage.jetstream_replay import unpack_position
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.nats import Ack, ApiError, Connection, JetStream, NatsTimeoutError, StoredMessage, StreamInfo

__all__ = ["connection", "stream"]

pytestmark = needs_nats

SOON_S = 0.1
"""Patience of logs that must run out of it."""


def put(log: JetStreamLog, *records: bytes) -> list[tuple[Position, bytes]]:
    """Append the records one by one, each in a message of its own."""
    placed = []
    for record in records:
        placed.append((log.append(record), record))
        log.wait(placed[-1][0])
    return placed


def put_parts(log: JetStreamLog, parts: int) -> list[tuple[Position, bytes]]:
    records = [b"%d " % number + bytes(MAX_RECORD_BYTES // 3) for number in range(4 * parts)]
    return put(log, *records)


def held(stream: LogStream) -> list[bytes]:
    """Return the records in the stream."""
    return [record for _, record in replayed(stream.open())]


# Another writer


def test_a_second_writer_fences_the_first(stream: LogStream) -> None:
    first = stream.start(node="one")
    placed = put(first, b"of the first")
    second = stream.start(node="two")
    assert (first.epoch, second.epoch) == (1, 2)
    late = first.append(b"too late")
    for _ in range(2):
        with pytest.raises(LogLostError, match="another process has taken over the log"):
            first.wait(late)
    with pytest.raises(LogLostError):
        first.append(b"later")
    assert first.failure is not None
    first.close()
    placed += put(second, b"of the second")
    second.close()
    assert replayed(stream.open()) == placed


def test_a_writer_is_fenced_by_a_replay_that_is_never_started(stream: LogStream) -> None:
    first = stream.start()
    replayed(stream.open())
    with pytest.raises(LogLostError):
        put(first, b"late")
    assert held(stream) == []


def test_a_deposed_writer_confirms_nothing(stream: LogStream) -> None:
    first = stream.start()
    first.wait(first.confirm())
    stream.start()
    first.wait(first.end() - 1)  # nothing is pending, so it cannot know
    with pytest.raises(LogLostError):
        first.wait(first.confirm())
    with pytest.raises(LogLostError):
        first.confirm()


def test_the_loss_of_the_log_is_told_once(stream: LogStream) -> None:
    first = stream.start()
    told: list[LogLostError] = []
    first.on_lost(told.append)
    first.on_lost(told.append)
    stream.start()
    assert told == []
    for _ in range(3):
        with pytest.raises(LogLostError):
            put(first, b"late")
    assert len(told) == 2
    first.on_lost(told.append)
    assert len(told) == 3
    assert str(told[2]) == first.failure


def test_everybody_who_waits_is_told_of_the_loss(stream: LogStream) -> None:
    first = stream.start()
    arrived, go_on = threading.Event(), threading.Event()

    def hold(publish: Publish) -> Ack:
        arrived.set()
        assert go_on.wait(timeout=PATIENCE_S)
        return publish()

    stream.jetstream.interfere = hold
    calls = [Call(put, first, b"late") for _ in range(6)]
    assert arrived.wait(timeout=PATIENCE_S)
    stream.start(jetstream=JetStream(stream.jetstream.connection))
    go_on.set()
    for each in calls:
        with pytest.raises(LogLostError):
            each.result()


def test_of_two_writers_that_take_over_at_once_one_yields(stream: LogStream) -> None:
    stream.start().close()
    rival: list[JetStreamLog] = []

    def let_another_go_first(publish: Publish) -> Ack:
        stream.jetstream.interfere = None
        rival.append(stream.start(node="rival"))
        return publish()

    slow = stream.open()
    stream.jetstream.interfere = let_another_go_first
    with pytest.raises(LogLostError, match="has just taken over"):
        replayed(slow)
    with pytest.raises(LogClosedError):
        slow.start()
    placed = put(rival[0], b"of the rival")
    assert replayed(slow) == placed, "it may try again"
    slow.start()
    assert slow.epoch == rival[0].epoch + 1


def test_a_stale_answer_about_the_epoch_takes_nothing_over(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that was deposed, and does not know it yet, answers with an older epoch record."""
    stream.start().close()
    stale = stream.jetstream.get_last(stream.name, f"{stream.name}.epoch", timeout_s=PATIENCE_S)
    owner = stream.start()
    with monkeypatch.context() as patch:
        patch.setattr(stream.jetstream, "get_last", lambda *_, **__: stale)
        late = stream.open()
        with pytest.raises(LogLostError):
            replayed(late)
    placed = put(owner, b"on")
    assert replayed(late) == placed


def test_a_claim_whose_acknowledgement_is_lost_is_recognized(stream: LogStream) -> None:
    lost: list[Ack] = []

    def lose(publish: Publish) -> Ack:
        lost.append(publish())
        stream.jetstream.interfere = None
        raise NatsTimeoutError("lost")

    stream.jetstream.interfere = lose
    log = stream.start()
    assert [ack.sequence for ack in lost] == [1]
    assert put(log, b"x")[0][0] >> 24 == 2, "the epoch record is there once"


# Outcomes of an append


def interfere_once(stream: LogStream, what: Callable[[Publish], Ack]) -> None:
    def interfere(publish: Publish) -> Ack:
        stream.jetstream.interfere = None
        return what(publish)

    stream.jetstream.interfere = interfere


def lost_before_commit(_publish: Publish) -> Ack:
    raise NatsTimeoutError("lost")


def lost_after_commit(publish: Publish) -> Ack:
    publish()
    raise NatsTimeoutError("lost")


def unavailable(_publish: Publish) -> Ack:
    raise ApiError(503, 10008, "JetStream system temporarily unavailable")


def in_process(publish: Publish) -> Ack:
    publish()
    raise ApiError(409, 10158, "duplicate message id is in process")


@pytest.mark.parametrize("outcome", [lost_before_commit, lost_after_commit, unavailable, in_process])
def test_an_unknown_outcome_is_found_out_with_the_identical_message(
    stream: LogStream, outcome: Callable[[Publish], Ack]
) -> None:
    log = stream.start()
    placed = put(log, b"before")
    sent = len(stream.jetstream.published)
    interfere_once(stream, outcome)
    placed += put(log, b"in between", b"after")
    again = stream.jetstream.published[sent:]
    assert len(again) == 3
    assert again[0] == again[1]
    assert log.append_retries == 1
    log.close()
    assert replayed(stream.open()) == placed


def test_without_an_acknowledgement_the_log_fails_in_the_end(stream: LogStream) -> None:
    log = stream.start(patience_s=SOON_S)
    waited: list[float] = []

    def lose(_publish: Publish) -> Ack:
        waited.append(log.waiting_s)
        raise NatsTimeoutError("lost")

    stream.jetstream.interfere = lose
    assert log.waiting_s == 0
    with pytest.raises(LogFailedError, match="acknowledged nothing") as caught:
        put(log, b"x")
    assert not isinstance(caught.value, LogLostError)
    assert waited == sorted(waited)
    assert len(waited) >= 3
    assert log.waiting_s == 0
    assert log.append_retries == len(waited) - 1
    with pytest.raises(LogFailedError):
        log.confirm()
    log.close()


@pytest.mark.parametrize("sequence", [1, 3, 7])
def test_another_sequence_than_the_expected_one_is_damage(stream: LogStream, sequence: int) -> None:
    log = stream.start()
    interfere_once(stream, lambda _publish: Ack(sequence, is_duplicate=True))
    with pytest.raises(LogFailedError, match=f"is damaged: message 2 was acknowledged as {sequence}"):
        put(log, b"x")


def test_a_refusal_ends_the_log(stream: LogStream) -> None:
    log = stream.start()
    stream.fail_writes()
    with pytest.raises(LogFailedError, match="refused by the test"):
        put(log, b"x")
    stream.jetstream.interfere = None
    with pytest.raises(LogFailedError, match="refused by the test"):
        put(log, b"y")
    assert held(stream) == []


def test_lost_acknowledged_records_are_damage_and_not_a_fence(stream: LogStream) -> None:
    log = stream.start(patience_s=SOON_S)
    put(log, b"one", b"two")
    stream.call("DELETE")
    other = stream.start()  # a stream with the same name, that begins anew
    other.close()
    with pytest.raises(LogFailedError, match="is damaged: message 3 was acknowledged, and the last is 1") as caught:
        put(log, b"three")
    assert not isinstance(caught.value, LogLostError)
    assert held(stream) == []


def test_a_leader_that_knows_less_for_a_while_is_asked_again(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = stream.start()
    placed = put(log, b"one")
    info = stream.jetstream.stream_info
    asked: list[str] = []

    def stale_at_first(name: str, *, timeout_s: float) -> object:
        asked.append(name)
        found = info(name, timeout_s=timeout_s)
        return found._replace(last_sequence=1) if len(asked) < 3 else found

    monkeypatch.setattr(stream.jetstream, "stream_info", stale_at_first)

    def wrong_sequence(_publish: Publish) -> Ack:
        raise ApiError(400, 10071, "wrong last sequence: 1")

    interfere_once(stream, wrong_sequence)
    placed += put(log, b"two")
    assert len(asked) == 3
    log.close()
    assert replayed(stream.open()) == placed


def test_a_writer_that_wakes_up_after_its_place_was_dropped_is_fenced(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one")
    late = log.append(b"late")
    other = stream.start()
    put_parts(other, 2)
    drop_all(other)
    with pytest.raises(LogLostError):
        log.wait(late)


def drop_all(log: JetStreamLog) -> None:
    while (oldest := log.oldest()) is not None:
        log.trim(oldest[0])


def test_a_message_that_is_missing_where_it_was_expected_is_damage(stream: LogStream) -> None:
    log = stream.start(patience_s=SOON_S)
    interfere_once(stream, lost_after_commit)
    stream.jetstream.tamper = lambda _message: None
    with pytest.raises(LogFailedError, match="is damaged: message 2 is missing between others"):
        put(log, b"x")


def test_one_message_is_in_flight_at_a_time_and_others_gather_meanwhile(stream: LogStream) -> None:
    log = stream.start()
    lock, arrived, go_on = threading.Lock(), threading.Event(), threading.Event()
    sent = len(stream.jetstream.published)

    def alone(publish: Publish) -> Ack:
        assert lock.acquire(blocking=False), "two appends at once"
        arrived.set()
        assert go_on.wait(timeout=PATIENCE_S)
        ack = publish()
        lock.release()
        return ack

    stream.jetstream.interfere = alone
    calls = [Call(put, log, b"0")]
    assert arrived.wait(timeout=PATIENCE_S)
    end = log.end()
    calls += [Call(put, log, b"%d" % number) for number in range(1, 20)]
    eventually(lambda: log.end() >= end + 19 * 5)
    go_on.set()
    placed = [pair for each in calls for pair in each.result()]
    assert len(stream.jetstream.published) - sent == 2
    log.close()
    assert replayed(stream.open()) == sorted(placed)


def test_nobody_is_answered_before_the_acknowledgement(stream: LogStream) -> None:
    log = stream.start()
    first, second = log.append(b"first"), log.append(b"second")
    arrived, go_on = threading.Event(), threading.Event()

    def hold(publish: Publish) -> Ack:
        arrived.set()
        assert go_on.wait(timeout=PATIENCE_S)
        return publish()

    stream.jetstream.interfere = hold
    leader = Call(log.wait, first)
    assert arrived.wait(timeout=PATIENCE_S)
    follower = Call(log.wait, second)
    eventually(lambda: follower.done or vars(log._flying)["_waiters"])
    assert not follower.done
    go_on.set()
    leader.result()
    follower.result()


def test_a_group_takes_no_more_than_a_mebibyte(stream: LogStream) -> None:
    log = stream.start(max_record_bytes=400_000, part_bytes=1 << 30)
    placed = [(log.append(bytes([number]) * 400_000), bytes([number]) * 400_000) for number in range(7)]
    log.sync()
    assert [unpack_position(position)[0] for position, _ in placed] == [2, 2, 3, 3, 4, 4, 5]
    log.close()
    assert replayed(stream.open()) == placed


# Reading the stream


def test_a_beginning_that_moves_during_a_replay_is_told(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetstream_stream, "_BATCH_MESSAGES", 1)
    log = stream.start()
    placed = put_parts(log, 3) + put(log, b"newest")
    other = stream.open()
    records = other.replay()
    assert bytes(next(records)[1]) == placed[0][1]
    drop_all(log)
    with pytest.raises(LogMovedError):
        list(records)
    left = replayed(other)
    assert left == placed[-len(left) :]
    assert 0 < len(left) < len(placed)
    other.start()
    put(other, b"on")


def test_a_trim_between_two_looks_for_a_message_is_no_damage(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage lasts: no node would serve the shard any more."""
    log = stream.start()
    put(log, b"one", b"two", b"three", b"four")
    looks = Stream(stream.jetstream, stream.name, attempt_s=PATIENCE_S, patience_s=PATIENCE_S)
    info_reaching = looks.info_reaching

    def then_trim(sequence: int) -> StreamInfo:
        found = info_reaching(sequence)
        looks.purge(sequence + 1)
        return found

    monkeypatch.setattr(looks, "info_reaching", then_trim)
    with pytest.raises(LogMovedError, match="begins with message 4 now"):
        looks._check_missing(3)


def test_a_hole_is_damage(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one", b"two", b"three")
    log.close()
    stream.jetstream.tamper = lambda message: message if message.sequence != 3 else None
    with pytest.raises(
        CorruptLogError, match=f"stream {stream.name}, message 3, byte 0: the message is missing between"
    ):
        held(stream)


def test_the_work_of_a_replay_counts_each_group(stream: LogStream) -> None:
    """A thousand small messages take as long to read as two megabytes of records."""
    log = stream.start()
    before_bytes = log.replay_overhead_bytes
    put(log, *[b"x"] * 10)
    assert log.replay_overhead_bytes - before_bytes == 10 * _GROUP_COST_BYTES
    mark = log.mark()
    put(log, *[b"x"] * 3)
    log.close()
    again = stream.open()
    assert again.replay_overhead_bytes == 0, "it has read nothing"
    replayed(again)
    again.start()
    whole_bytes = again.replay_overhead_bytes
    again.close()
    assert whole_bytes > 13 * _GROUP_COST_BYTES
    after_mark = stream.open()
    assert len(list(after_mark.replay(mark))) == 3
    after_mark.start()
    assert 3 * _GROUP_COST_BYTES <= after_mark.replay_overhead_bytes <= 7 * _GROUP_COST_BYTES
    after_mark.close()


def test_a_replica_that_lags_behind_is_passed_over(stream: LogStream) -> None:
    log = stream.start()
    placed = put(log, *(b"%d" % number for number in range(20)))
    log.close()
    stream.jetstream.replica_has = 5
    again = stream.open(cache_bytes=0)
    assert replayed(again) == placed
    again.start()
    assert again.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
    assert stream.jetstream.read_from_leader >= 15


def test_a_replica_that_does_not_answer_is_passed_over(stream: LogStream) -> None:
    log = stream.start()
    placed = put(log, *(b"%d" % number for number in range(20)))
    log.close()
    stream.jetstream.batch_error = NatsTimeoutError("no answer")
    assert replayed(stream.open()) == placed


def test_every_flipped_byte_is_found(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one", b"two")
    log.close()
    for sequence in (1, 2, 3):
        message = stored(stream, sequence)
        for at in range(len(message.payload)):
            changed = bytearray(message.payload)
            changed[at] ^= 1 << at % 8
            replace(stream, message._replace(payload=bytes(changed)))
            with pytest.raises(CorruptLogError, match=f"message {sequence}, byte"):
                list(stream.open().replay())
    replace(stream)
    assert held(stream) == [b"one", b"two"]


def stored(stream: LogStream, sequence: int) -> StoredMessage:
    found = stream.jetstream.get(stream.name, sequence, timeout_s=PATIENCE_S)
    assert found is not None
    return found


def replace(stream: LogStream, *messages: StoredMessage) -> None:
    """Have other messages read in the places of these."""
    by_sequence = {each.sequence: each for each in messages}
    stream.jetstream.tamper = lambda each: by_sequence.get(each.sequence, each)


def test_messages_that_change_places_are_found(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one", b"two", b"three")
    log.close()
    two, three = stored(stream, 3), stored(stream, 4)
    replace(stream, three._replace(sequence=3), two._replace(sequence=4))
    with pytest.raises(CorruptLogError, match="message 3, byte 0: it was written as message 4"):
        held(stream)


def test_a_message_of_another_history_is_found(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one", b"two")
    log.close()
    message = jetstream_frame.unpack(stored(stream, 3).payload)
    other = jetstream_frame.pack_group(message.log_id, 1, 3, message.chain ^ 1, [b"six"])
    replace(stream, stored(stream, 3)._replace(payload=other))
    with pytest.raises(CorruptLogError, match="message 3, byte 0: it does not follow on message 2"):
        held(stream)
    other = jetstream_frame.pack_group(bytes(16), 1, 3, message.chain, [b"six"])
    replace(stream, stored(stream, 3)._replace(payload=other))
    with pytest.raises(CorruptLogError, match="it belongs to another log"):
        held(stream)


def append(stream: LogStream, payload: bytes, *, subject: str = "log") -> int:
    """Append a message as no writer of the log does, without a condition."""
    subject = f"{stream.name}.{subject}"
    return JetStream.publish(stream.jetstream, stream.name, subject, payload, {}, timeout_s=PATIENCE_S).sequence


def test_a_writer_that_is_not_fenced_is_found(stream: LogStream) -> None:
    log = stream.start()
    put(log, b"one")
    before = jetstream_frame.unpack(stored(stream, 2).payload)
    stream.start().close()
    newest = jetstream_frame.unpack(stored(stream, 3).payload)
    append(stream, jetstream_frame.pack_group(before.log_id, 1, 4, newest.crc, [b"late"]))
    with pytest.raises(CorruptLogError, match="message 4, byte 0: it is of epoch 1, after epoch 2 had begun"):
        held(stream)


@pytest.mark.parametrize(
    ("payload", "subject", "problem"),
    [
        (b"", "log", "byte 0: this is no message of WonderQ"),
        (b"x" * 100, "log", "byte 0: this is no message of WonderQ"),
        (jetstream_frame.pack_epoch(bytes(16), 9, jetstream_frame.Writer("x", "y")), "log", "should have .*epoch"),
    ],
)
def test_strange_messages_are_found(stream: LogStream, payload: bytes, subject: str, problem: str) -> None:
    stream.start().close()
    append(stream, payload, subject=subject)
    with pytest.raises(CorruptLogError, match=f"message 2, {problem}|message 2, byte 0: .*{problem}"):
        held(stream)


def with_crc(data: bytes) -> bytes:
    return jetstream_frame._with_crc(data)


def test_what_verifies_and_is_wrong_nevertheless_is_found(stream: LogStream) -> None:
    stream.start().close()
    epoch = jetstream_frame.unpack(stored(stream, 1).payload)
    group = jetstream_frame.pack_group(epoch.log_id, 1, 1, 0, [b"abc"])[:-4]
    stranger = stored(stream, 1)
    for payload, problem in (
        (with_crc(group[:4] + b"\x07" + group[5:]), "byte 4: 7 is no kind of message"),
        (with_crc(group[:-1]), "byte 44: a record is longer than its group"),
        (with_crc(group[:-5]), "byte 44: a record is longer than its group"),
    ):
        replace(stream, stranger._replace(payload=payload, subject=f"{stream.name}.log"))
        with pytest.raises(CorruptLogError, match=problem):
            held(stream)
    for writer in (b"", b"\xc1", b"\x92\x01\x02", b"\x93\xa1a\xa1b\xa1c"):
        replace(stream, stranger._replace(payload=with_crc(epoch.data[:44] + writer)))
        with pytest.raises(CorruptLogError, match="byte 44: the epoch record names no writer"):
            held(stream)


def test_epochs_ascend(stream: LogStream) -> None:
    for _ in range(3):
        stream.start().close()
    one, three = stored(stream, 1), stored(stream, 3)
    replace(stream, three._replace(sequence=2), one._replace(sequence=3))
    with pytest.raises(CorruptLogError, match="epoch 1 begins after epoch 3"):
        held(stream)


def test_a_newer_version_is_not_damage(stream: LogStream) -> None:
    stream.start().close()
    epoch = stored(stream, 1)
    replace(stream, epoch._replace(payload=with_crc(b"WQJ\x02" + epoch.payload[4:-4])))
    with pytest.raises(UnsupportedFormatError, match="format version 2, and this WonderQ reads 1"):
        held(stream)


def test_an_acknowledged_epoch_record_must_be_there(stream: LogStream) -> None:
    stream.start().close()
    first = stored(stream, 1)
    replace(stream, first._replace(sequence=2))
    with pytest.raises(CorruptLogError, match="message 2, byte 0: the acknowledged epoch record is not there"):
        held(stream)


def test_a_stream_that_is_too_short_is_damage(stream: LogStream) -> None:
    log = stream.start(patience_s=SOON_S)
    with pytest.raises(
        CorruptLogError, match="message 2, byte 0: the message is missing: the stream ends with message 1"
    ):
        list(log._stream.messages(1, 2))


# Marks


def test_a_mark_after_the_end_of_the_stream_is_damage(stream: LogStream) -> None:
    log = stream.start(patience_s=SOON_S)
    put(log, b"one")
    mark = log.mark()
    log.close()
    stream.jetstream.call(f"STREAM.DELETE.{stream.name}", timeout_s=PATIENCE_S)
    anew = stream.open()
    replayed(anew)  # with another log id
    with pytest.raises(StaleMarkError, match="another log"):
        replayed(stream.open(), mark)


def test_a_stream_that_lost_its_end_is_damage(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    log = stream.start()
    put(log, b"one", b"two")
    mark = log.mark()
    log.close()
    info = stream.jetstream.stream_info
    monkeypatch.setattr(
        stream.jetstream,
        "stream_info",
        lambda name, timeout_s: info(name, timeout_s=timeout_s)._replace(last_sequence=2),
    )
    with pytest.raises(
        CorruptLogError, match="message 3, byte 0: the message was acknowledged, and the stream ends with"
    ):
        replayed(stream.open(patience_s=SOON_S), mark)


@pytest.mark.parametrize("place", [b"", b"\xc1", b"\x93\x01\x02\x03"])
def test_a_mark_of_a_folder_is_stale(stream: LogStream, place: bytes) -> None:
    stream.start().close()
    with pytest.raises(StaleMarkError, match="not one of a stream"):
        replayed(stream.open(), Mark(1 << 32, place))


def test_parts_survive_a_start_from_a_mark(stream: LogStream) -> None:
    log = stream.start()
    put_parts(log, 4)
    parts = [each.sequence for each in log._parts]
    oldest = log.oldest()
    mark = log.mark()
    log.close()
    again = stream.open()
    assert replayed(again, mark) == []
    again.start()
    assert [each.sequence for each in again._parts][: len(parts)] == parts
    found = again.oldest()
    assert found is not None
    assert oldest is not None
    assert found[0] == oldest[0]
    put_parts(again, 2)
    drop_all(again)
    again.close()
    later = stream.open()
    with pytest.raises(StaleMarkError, match="before the oldest"):
        replayed(later, mark)


def test_a_mark_with_parts_that_were_dropped_since(stream: LogStream) -> None:
    log = stream.start()
    put_parts(log, 4)
    mark = log.mark()
    placed = put(log, b"after")
    for _ in range(2):
        oldest = log.oldest()
        assert oldest is not None
        log.trim(oldest[0])
    first = log._parts[0].sequence
    log.close()
    again = stream.open()
    assert replayed(again, mark) == placed
    again.start()
    assert again._parts[0].sequence == first
    oldest = again.oldest()
    assert oldest is not None
    assert all(position < oldest[0] for position, _ in oldest[1])


# Room, parts and reading


def test_the_bytes_are_counted_as_the_stream_counts_them(stream: LogStream) -> None:
    def assert_exact(log: JetStreamLog, error_bytes: int = 0) -> None:
        counted = stream.jetstream.stream_info(stream.name, timeout_s=PATIENCE_S).bytes
        assert counted <= log.used_bytes() <= counted + error_bytes

    log = stream.start()
    assert_exact(log)
    for run in range(3):
        put_parts(log, 2)
        log.wait(log.append_together([b"a", b"", b"b" * run])[-1])
        log.wait(log.confirm())
        assert_exact(log)
        oldest = log.oldest()
        assert oldest is not None
        log.trim(oldest[0])
        assert_exact(log, error_bytes=run * 40)  # sizes of epoch records before the start are estimates
        log.close()
        log = stream.start()
        assert_exact(log)


def test_a_full_stream_takes_over_trims_and_confirms(stream: LogStream) -> None:
    stream.limit_room(5)
    log = stream.start()
    with pytest.raises(DiskFullError, match="Consume messages, or raise its max_bytes"):
        put(log, *(b"%d " % number + bytes(900) for number in range(100)))
    log.close()
    log = stream.start()
    assert log.failure is None
    with pytest.raises(DiskFullError):
        log.confirm()
    assert drop_one(log) > 0
    confirmed = iter(lambda: log.wait(log.confirm()), "never")
    with pytest.raises(DiskFullError):
        list(confirmed)
    assert log.failure is None
    put(log, b"a delete")
    drop_all(log)
    log.wait(log.confirm())
    log.close()
    log = stream.start()
    put(log, bytes(900))


def drop_one(log: JetStreamLog) -> int:
    """Trim the oldest part; return how many records it had."""
    oldest = log.oldest()
    assert oldest is not None
    count = len(list(oldest[1]))
    log.trim(oldest[0])
    return count


def test_the_newest_epoch_record_stays_in_the_stream(stream: LogStream) -> None:
    log = stream.start()
    for _ in range(5):
        put_parts(log, 2)
        drop_all(log)
        newest = stream.jetstream.get_last(stream.name, f"{stream.name}.epoch", timeout_s=PATIENCE_S)
        assert newest is not None
        assert newest.payload == log._epoch_record
    log.close()
    assert stream.start().epoch == 2


def test_a_confirmation_shares_the_group_that_gathers(stream: LogStream) -> None:
    log = stream.start()
    sent = len(stream.jetstream.published)
    log.append(b"x")
    assert log.confirm() == log.confirm() == log.end()
    log.wait(log.confirm())
    assert len(stream.jetstream.published) == sent + 1
    assert log.confirm() == log.confirm() == log.end()
    log.wait(log.confirm())
    assert len(stream.jetstream.published) == sent + 2, "an empty group"
    log.close()
    assert held(stream) == [b"x"]


def test_a_part_ends_where_the_log_is_rotated(stream: LogStream) -> None:
    log = stream.start()
    first = log.append(b"before")
    sent = len(stream.jetstream.published)
    end = log.rotate()
    assert log.rotate() == end
    assert len(stream.jetstream.published) == sent, "it works in memory"
    assert log.oldest() is None, "nothing is acknowledged yet"
    placed = [(log.append(b"after"), b"after")]
    log.sync()
    oldest = log.oldest()
    assert oldest is not None
    assert (oldest[0], [position for position, _ in oldest[1]]) == (end, [first])
    pending = log.append(b"pending")
    log.trim(end)
    assert log.oldest() is None
    log.rotate()
    log.close()
    assert replayed(stream.open()) == [*placed, (pending, b"pending")]


def age(log: JetStreamLog, seconds: float) -> None:
    """Let the first message of each part be older."""
    for each in log._parts:
        if each.began_s is not None:
            each.began_s -= seconds


def test_a_part_is_held_back_until_the_servers_must_have_synced_what_follows(stream: LogStream) -> None:
    log = stream.start(settle_s=1000)
    put_parts(log, 2)
    age(log, 900)
    assert log.oldest() is None
    age(log, 100)
    assert drop_one(log) > 0
    put_parts(log, 2)
    log.close()

    log = stream.start(settle_s=1000)
    assert len(log._parts) > 1
    assert log.oldest() is None, "a replay cannot know when a part ended"
    age(log, 1000)
    assert drop_one(log) > 0


def test_a_part_is_held_back_while_nothing_old_follows_it(stream: LogStream) -> None:
    """Only a message that was written long ago is in a file which the servers must have synced."""
    log = stream.start(settle_s=1000)
    put(log, b"1")
    log.rotate()
    age(log, 1000)
    assert log.oldest() is None, "nothing follows it"
    put(log, b"2")
    assert log.oldest() is None, "what follows is new"
    age(log, 1000)
    assert drop_one(log) == 1


def test_no_part_is_cut_short_while_another_one_is_held_back(stream: LogStream) -> None:
    log = stream.start(settle_s=1000)
    put(log, b"1")
    first = log.rotate()
    put(log, b"2")
    assert log.rotate() == first
    age(log, 1000)
    put(log, b"3")
    assert log.rotate() > first
    oldest = log.oldest()
    assert oldest is not None
    assert oldest[0] == first


def test_a_stream_with_little_room_holds_nothing_back(stream: LogStream) -> None:
    stream.limit_room(8)
    log = stream.start(settle_s=1000)
    put_parts(log, 2)
    assert log.oldest() is None
    while log.free_bytes() > 2 * PART_BYTES:
        assert log.oldest() is None
        put(log, bytes(100))
    put(log, bytes(100))
    assert drop_one(log) > 0
    assert log.oldest() is None, "there is room again"


def test_a_purge_is_repeated_until_it_is_answered(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    log = stream.start()
    put_parts(log, 2)
    purge = stream.jetstream.purge
    calls: list[int] = []

    def purge_twice(name: str, before_sequence: int, *, timeout_s: float) -> None:
        purge(name, before_sequence, timeout_s=timeout_s)
        calls.append(before_sequence)
        if len(calls) < 3:
            raise NatsTimeoutError("lost")

    monkeypatch.setattr(stream.jetstream, "purge", purge_twice)
    drop_one(log)
    assert len(calls) == 3
    assert len(set(calls)) == 1


def test_new_records_are_in_memory_and_older_ones_are_after_a_read(stream: LogStream) -> None:
    log = stream.start()
    placed = put(log, *(b"%d" % number for number in range(9)))
    spans = [(position, len(record)) for position, record in placed]
    records = [record for _, record in placed]
    assert log.read(spans, block=False) == records
    log.close()
    again = stream.start()
    with pytest.raises(BlockingIOError):
        again.read(spans[3:5], block=False)
    assert again.read(spans[3:5]) == records[3:5]
    assert again.read(spans[3:5], block=False) == records[3:5]
    with pytest.raises(BlockingIOError):
        again.read(spans, block=False)
    assert again.read([spans[8], spans[0], spans[4]]) == [records[8], records[0], records[4]]
    again.close()
    assert again.read(spans[3:5]) == records[3:5]
    with pytest.raises(LogClosedError):
        again.read(spans)


def test_the_memory_for_records_is_bounded(stream: LogStream) -> None:
    log = stream.start(cache_bytes=5000)
    placed = put(log, *(bytes([number]) * 1000 for number in range(20)))
    assert log._cache._bytes <= 5000
    spans = [(position, len(record)) for position, record in placed]
    assert log.read(spans) == [record for _, record in placed]
    assert log._cache._bytes <= 5000
    assert log._cache._bytes == sum(ENTRY_BYTES + len(each) for each in log._cache._messages.values())
    with pytest.raises(BlockingIOError):
        log.read(spans, block=False)


def test_a_dropped_record_is_told_from_a_missing_one(stream: LogStream) -> None:
    log = stream.start(cache_bytes=0)
    placed = put_parts(log, 3)
    other = stream.start(cache_bytes=0)
    drop_one(other)
    position, record = placed[0]
    with pytest.raises(TrimmedError):
        other.read([(position, len(record))])
    with pytest.raises(TrimmedError):  # the deposed writer does not know, and finds out
        log.read([(position, len(record))])
    oldest = log.oldest()
    assert oldest is not None
    with pytest.raises(TrimmedError):
        list(oldest[1])
    newest, record = placed[-1]
    with pytest.raises(CorruptLogError, match="3000 bytes should be here"):
        other.read([(newest, 3000)])
    stream.jetstream.tamper = lambda message: message if message.sequence != newest >> 24 else None
    with pytest.raises(CorruptLogError, match="missing between others"):
        other.read([(newest, len(record))])


def test_a_late_purge_of_a_former_owner_does_no_harm(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    former = stream.start()
    put_parts(former, 4)
    purge = stream.jetstream.purge
    owner: list[JetStreamLog] = []

    def freeze(name: str, before_sequence: int, *, timeout_s: float) -> None:
        monkeypatch.setattr(stream.jetstream, "purge", purge)
        owner.append(stream.start())
        oldest.append(owner[0].oldest())
        purge(name, before_sequence, timeout_s=timeout_s)

    oldest: list[tuple[Position, Iterator[tuple[Position, memoryview]]] | None] = []
    monkeypatch.setattr(stream.jetstream, "purge", freeze)
    drop_one(former)
    (log,), (found,) = owner, oldest
    assert found is not None
    used = log.used_bytes()
    with pytest.raises(TrimmedError):
        list(found[1])
    assert log.used_bytes() < used
    left = replayed(stream.open())
    assert left[0][0] > found[0]
    again = log.oldest()
    assert again is not None
    assert [position for position, _ in again[1]] == [position for position, _ in left if position < again[0]]
    log.trim(found[0])


def test_a_damaged_record_is_not_read(stream: LogStream) -> None:
    log = stream.start(cache_bytes=0)
    ((position, _),) = put(log, b"abc")
    message = stored(stream, 2)
    replace(stream, message._replace(payload=message.payload.replace(b"abc", b"abd")))
    with pytest.raises(CorruptLogError, match="checksum"):
        log.read([(position, 3)])


def test_where_a_record_is(stream: LogStream) -> None:
    log = stream.start()
    placed = put(log, b"a", b"b")
    assert [log.locate(position) for position, _ in placed] == [
        (f"stream {stream.name}, message", each) for each in (2, 3)
    ]
    assert log.files is None


# Setting up


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_age": 10**12},
        {"max_msgs": 1000},
        {"discard": "old"},
        {"retention": "workqueue"},
        {"storage": "memory"},
        {"allow_direct": False},
        {"deny_delete": False},
        {"deny_purge": True},
        {"max_msgs_per_subject": 5},
        {"allow_rollup_hdrs": True, "deny_purge": False},
        {"max_bytes": -1},
        {"subjects": ["other.>"]},
        {"no_ack": True},
    ],
    ids=str,
)
def test_a_stream_that_could_lose_records_is_refused(stream: LogStream, wrong: dict[str, object]) -> None:
    config = stream.open()._stream.config(1, 1 << 20)
    name = f"X{stream.name}"
    subjects = [f"{name}.log", f"{name}.epoch"]
    stream.name = name
    stream.jetstream.create_stream({**config, "name": name, "subjects": subjects, **wrong}, timeout_s=PATIENCE_S)
    with pytest.raises(UnsuitableStreamError, match=f"{next(iter(wrong))}.*Correct them, or choose another name"):
        replayed(stream.open())
    assert stream.jetstream.stream_info(name, timeout_s=PATIENCE_S).last_sequence == 0


def test_fewer_replicas_than_asked_for_are_refused(stream: LogStream) -> None:
    stream.start().close()
    with pytest.raises(UnsuitableStreamError, match="num_replicas"):
        replayed(JetStreamLog(stream.jetstream, stream.name, node="x", replicas=3))
    other = LogStream(stream.jetstream.connection, replicas=3)
    with pytest.raises(LogFailedError, match="replicas"):  # one server cannot have three
        replayed(other.open())


def test_a_stream_that_is_larger_than_the_servers_storage_is_refused(stream: LogStream) -> None:
    with pytest.raises(LogFailedError, match=r"insufficient.*Make a smaller stream"):
        replayed(stream.open(max_bytes=1 << 60, patience_s=SOON_S))


def test_a_new_stream_waits_for_a_server_that_the_others_do_not_know_yet(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, refusals = stream.jetstream.create_stream, 3

    def refuse_at_first(config: dict[str, Any], *, timeout_s: float) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise ApiError(400, 10005, "no suitable peers for placement, peer offline")
        create(config, timeout_s=timeout_s)

    monkeypatch.setattr(stream.jetstream, "create_stream", refuse_at_first)
    assert replayed(stream.open()) == []
    assert refusals == 0


def test_the_room_of_an_existing_stream_counts(stream: LogStream) -> None:
    stream.limit_room(3)
    stream.start().close()
    log = stream.start(max_bytes=1 << 30)
    assert log.free_bytes() + log.used_bytes() == 3 * PART_BYTES


@pytest.mark.parametrize("version", ["2.14.9", "2.16.0", "2.1", None])
def test_a_server_of_a_version_that_was_not_tested_is_refused(version: str | None) -> None:
    with FakeNats(version=version, server_name="n7") as server, closing(Connection(server.url)) as connection:
        log = JetStreamLog(JetStream(connection), "S", node="x")
        with pytest.raises(UnsuitableStreamError, match=rf"server n7 has version {version}, .* tested with 2\.15\.x"):
            log.prepare()


def test_a_server_that_takes_only_small_messages_is_refused() -> None:
    with FakeNats(max_payload=1 << 20, version="2.15.1") as server, closing(Connection(server.url)) as connection:
        log = JetStreamLog(JetStream(connection), "S", node="x")
        with pytest.raises(UnsuitableStreamError, match="Set max_payload: 8MB"):
            replayed(log)


def test_a_server_that_is_not_there_is_told() -> None:
    server = FakeNats()
    server.stop()
    with closing(Connection(server.url)) as connection:
        log = JetStreamLog(JetStream(connection), "S", node="x", attempt_s=SOON_S, patience_s=SOON_S)
        with pytest.raises(LogFailedError, match="no connection to NATS"):
            replayed(log)


def test_a_take_over_that_is_refused_is_told(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.fail_writes()
    with pytest.raises(LogFailedError, match="refused by the test"):
        replayed(stream.open())

    def refuse(_name: str, timeout_s: float) -> object:
        raise ApiError(400, 10003, "bad request")

    monkeypatch.setattr(stream.jetstream, "stream_info", refuse)
    with pytest.raises(LogFailedError, match="bad request"):
        replayed(stream.open())


def test_a_closed_connection_is_told_at_once(stream: LogStream, connection: Connection) -> None:
    with closing(Connection(",".join(map(str, connection._addresses)))) as own:
        log = stream.start(jetstream=JetStream(own))
        own.close()
        with pytest.raises(LogFailedError, match="the NATS client is closed"):
            put(log, b"x")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a*", "x" * 65])
def test_a_name_that_is_none_is_refused(connection: Connection, name: str) -> None:
    with pytest.raises(ValueError, match="name of a stream"):
        JetStreamLog(JetStream(connection), name, node="x")


def test_a_node_with_a_long_name_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        JetStreamLog(JetStream(connection), "S", node="x" * 65)


def test_records_that_a_stream_cannot_hold_are_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="7,340,032 bytes"):
        JetStreamLog(JetStream(connection), "S", node="x", max_record_bytes=(7 << 20) + 1)


def test_the_largest_record(stream: LogStream) -> None:
    log = stream.start(max_record_bytes=7 << 20)
    record = bytes(range(256)) * (7 << 12)
    placed = put(log, record, b"after")
    log.close()
    assert replayed(stream.open(max_record_bytes=7 << 20)) == placed


def test_a_started_or_closed_log_is_not_replayed(stream: LogStream) -> None:
    log = stream.start()
    with pytest.raises(LogClosedError):
        log.replay()
    log.close()
    with pytest.raises(LogClosedError):
        stream.open().start()


def test_a_take_over_is_logged(stream: LogStream, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="wonderq.storage"):
        first = stream.start()
        stream.start()
        with pytest.raises(LogLostError):
            put(first, b"late")
    assert f"epoch 1 of the log in the stream {stream.name} begins with message 1" in caplog.text
    assert "has taken over the log" in caplog.text


def test_headers_of_an_append_name_its_place() -> None:
    assert append_headers(3, 7) == {"Nats-Expected-Last-Sequence": "6", "Nats-Msg-Id": "3:7"}
