"""Checkpoints in a stream come back whole or are known to be damaged, on any machine, and are bounded in number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.support.log_streams import LogStream
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection, stream
from tests.support.waiting import PATIENCE_S
from wonderq_storage import DamagedCheckpointError, LogFailedError, Mark
from wonderq_storage.jetstream_checkpoints import JetStreamCheckpoints
from wonderq_storage.nats import ApiError, JetStream, NatsTimeoutError, StoredMessage

__all__ = ["connection", "stream"]

pytestmark = needs_nats

CHUNKS = [b"first chunk", b"\0" * 70, bytes(range(256)), b"", b"x"]


def mark(number: int) -> Mark:
    return Mark(number << 24 | 44, b"the log's own %d" % number)


def opened(stream: LogStream) -> JetStreamCheckpoints:
    return JetStreamCheckpoints(stream.jetstream, stream.name, piece_bytes=100, patience_s=0.1)


def read_all(checkpoints: JetStreamCheckpoints) -> list[tuple[Mark, list[bytes]]]:
    return [(found, list(chunks)) for found, chunks in checkpoints.newest_first()]


def messages(stream: LogStream) -> int:
    info = stream.jetstream.call(f"STREAM.INFO.{stream.name}-checkpoints", timeout_s=PATIENCE_S)
    return int(info["state"]["messages"])


def test_what_was_written_comes_back_in_another_process(stream: LogStream) -> None:
    checkpoints = opened(stream)
    assert read_all(checkpoints) == []
    size = checkpoints.write(mark(500), iter(CHUNKS))
    assert size > sum(map(len, CHUNKS))
    assert read_all(checkpoints) == read_all(opened(stream)) == [(mark(500), CHUNKS)]


def test_one_without_chunks_and_one_of_many(stream: LogStream) -> None:
    many = [b"%d" % number * (number % 50 + 1) for number in range(300)]
    checkpoints = opened(stream)
    checkpoints.write(mark(1), [])
    checkpoints.write(mark(2), many)
    assert read_all(opened(stream)) == [(mark(2), many), (mark(1), [])]


def test_two_are_kept_and_the_newest_comes_first(stream: LogStream) -> None:
    checkpoints = opened(stream)
    for number in (9, 10, 200):
        checkpoints.write(mark(number), [b"%d" % number])
    assert [found for found, _ in read_all(opened(stream))] == [mark(200), mark(10)]
    assert messages(stream) == 4, "nothing is left of the one that was removed"


def test_the_one_that_a_start_used_stays(stream: LogStream) -> None:
    for number in (1, 2):
        opened(stream).write(mark(number), [b""])  # by processes that ended before another one could use it
    assert [found for found, _ in read_all(opened(stream))] == [mark(2)]
    checkpoints = opened(stream)
    checkpoints.prove(mark(2))
    checkpoints.write(mark(3), [b""])
    assert [found for found, _ in read_all(opened(stream))] == [mark(3), mark(2)]


def test_whoever_has_used_one_waits_for_nothing(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has just taken the log over, and the stream of checkpoints may have no leader by now."""
    opened(stream).write(mark(1), [b""])
    checkpoints = opened(stream)
    assert [found for found, _ in checkpoints.newest_first()] == [mark(1)]
    with monkeypatch.context() as patch:
        patch.setattr(JetStream, "read", lambda *_, **__: pytest.fail("it asks JetStream"))
        checkpoints.prove(mark(1))
    checkpoints.write(mark(2), [b""])
    assert [found for found, _ in read_all(opened(stream))] == [mark(2), mark(1)]


@pytest.mark.parametrize("without_leader", ["create_stream", "publish"])
def test_a_write_without_a_leader_ends_within_ten_seconds(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch, without_leader: str
) -> None:
    """A broker that stops, or hands a shard over, waits for it."""
    now_s = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def time_out(*_: object, timeout_s: float, **_options: object) -> NoReturn:
        pass_time(timeout_s)
        raise NatsTimeoutError("NATS did not answer in time")

    monkeypatch.setattr(
        "wonderq_storage.jetstream_stream.time", SimpleNamespace(monotonic=lambda: now_s, sleep=pass_time)
    )
    monkeypatch.setattr(JetStream, without_leader, time_out)
    checkpoints = JetStreamCheckpoints(stream.jetstream, stream.name)
    with pytest.raises(LogFailedError, match="did not answer"):
        checkpoints.write(mark(1), CHUNKS)
    assert 4 < now_s < 10, "it waits for an election, but not for long"


def test_a_stream_of_a_process_with_other_options_is_used_as_it_is(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the replicas that the process which made it was told. One told another number must still write."""
    opened(stream).write(mark(1), [b"before"])
    create = JetStream.create_stream

    def create_another(self: JetStream, config: dict[str, Any], *, timeout_s: float) -> None:
        # One server alone never makes several replicas, so another setting differs here.
        create(self, {**config, "description": "other options"}, timeout_s=timeout_s)

    monkeypatch.setattr(JetStream, "create_stream", create_another)
    opened(stream).write(mark(2), [b"after"])
    assert read_all(opened(stream))[0] == (mark(2), [b"after"])


def test_a_former_owner_removes_nothing_of_its_successor(stream: LogStream) -> None:
    former = opened(stream)
    opened(stream).write(mark(7), [b"new"])
    former.write(mark(3), [b"old"])
    assert read_all(opened(stream)) == [(mark(7), [b"new"]), (mark(3), [b"old"])]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_flipped_bit_is_found(stream: LogStream, at: int) -> None:
    opened(stream).write(mark(1), CHUNKS)
    seen = []

    def flip(message: StoredMessage) -> StoredMessage:
        seen.append(message)
        payload = bytearray(message.payload)
        payload[len(payload) // 2] ^= len(seen) == at + 1
        return message._replace(payload=bytes(payload))

    stream.jetstream.tamper = flip
    with pytest.raises(DamagedCheckpointError, match="does not verify"):
        read_all(opened(stream))
    assert len(seen) == at + 1


def test_a_missing_piece_is_found(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wonderq_storage.jetstream_checkpoints._REPLICA_S", 0.05)
    opened(stream).write(mark(1), CHUNKS)
    for sequence, reason in ((4, "1 of its 4 pieces are missing"), (1, "does not verify")):
        body = {"seq": sequence}
        stream.jetstream.call(f"STREAM.MSG.DELETE.{stream.name}-checkpoints", body, timeout_s=PATIENCE_S)
        with pytest.raises(DamagedCheckpointError, match=reason):
            read_all(opened(stream))


def test_a_failed_one_leaves_nothing(stream: LogStream) -> None:
    checkpoints = opened(stream)
    checkpoints.write(mark(1), [])

    def chunks() -> list[bytes]:
        stream.fail_writes()
        return CHUNKS

    with pytest.raises(LogFailedError, match="refused by the test"):
        checkpoints.write(mark(2), (each for each in chunks()))
    stream.work_again()
    assert messages(stream) == 1


def test_what_a_crash_left_is_removed(stream: LogStream) -> None:
    checkpoints = opened(stream)
    checkpoints.write(mark(1), CHUNKS)
    before = messages(stream)
    with pytest.raises(ApiError):
        _die_in_the_middle(stream)
    assert messages(stream) > before
    assert [found for found, _ in read_all(opened(stream))] == [mark(1)]
    opened(stream).remove_unfinished()
    assert messages(stream) == before


def test_the_next_one_removes_what_a_killed_owner_left(stream: LogStream) -> None:
    """An owner has no time to clean up when it takes over."""
    with pytest.raises(ApiError):
        _die_in_the_middle(stream)
    checkpoints = opened(stream)
    checkpoints.write(mark(1), [])
    assert messages(stream) > 1, "nor does one of an earlier beginning remove what may still be written"
    checkpoints.write(mark(3), [])
    assert messages(stream) == 2


def _die_in_the_middle(stream: LogStream) -> None:
    """Write a checkpoint as a process that ends before the last message."""

    class Dying(JetStreamCheckpoints):
        def _purge(self, name: str) -> None:
            raise ApiError(500, 0, "dead")

    def chunks() -> list[bytes]:
        return CHUNKS

    dying = Dying(stream.jetstream, stream.name, piece_bytes=100)

    def endless() -> list[bytes]:
        raise ApiError(500, 0, "dead")

    dying.write(mark(2), (each for part in (chunks, endless) for each in part()))


def test_a_manifest_of_other_pieces_is_found(stream: LogStream) -> None:
    """The manifest has the checksum of the last piece, so that fewer pieces than were written are not enough."""
    checkpoints = opened(stream)
    checkpoints.write(mark(1), CHUNKS)
    real = checkpoints._manifest

    def shorter(name: str) -> Any:
        found = real(name)
        return found._replace(pieces=found.pieces - 1)

    checkpoints._manifest = shorter  # type: ignore[method-assign]
    with pytest.raises(DamagedCheckpointError, match="ends too early"):
        read_all(checkpoints)
