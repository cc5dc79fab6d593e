"""A broker on a log in JetStream: the next one has the same state, and the one before can change nothing any more."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.log_streams import PART_BYTES, LogStream
from tests.support.nats_servers import needs_nats
from tests.support.random_life import live_a_random_life
from tests.support.shared_nats import connection, stream
from tests.support.states import state_view
from tests.support.waiting import PATIENCE_S
from wonderq.broker import maintenance as maintenance_module
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance, checkpoint
from wonderq.model.limits import Limits
from wonderq.model.messages import Target
from wonderq_storage import DiskFullError, LogFailedError, Mark
from wonderq_storage.jetstream_checkpoints import JetStreamCheckpoints
from wonderq_storage.jetstream_log import _GROUP_COST_BYTES
from wonderq_storage.nats import JetStream, NatsTimeoutError

__all__ = ["connection", "stream"]

pytestmark = needs_nats

LIMITS = Limits(message_bytes=1000, batch_messages=200, batch_bytes=3000)


class NoCheckpoints:
    """A `wonderq_storage.Checkpoints` that keeps none."""

    def write(self, _mark: Mark, _chunks: Iterable[bytes]) -> int:
        return 0

    def prove(self, _mark: Mark) -> None:
        pass

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        return iter(())

    def remove_unfinished(self) -> None:
        pass


def start(stream: LogStream, clock: FakeClock) -> Broker:
    return Broker(stream.open(), clock=clock, limits=LIMITS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_next_owner_has_the_same_state(stream: LogStream, seed: int) -> None:
    chance, clock = random.Random(seed), FakeClock()
    broker = start(stream, clock)
    compacted = 0
    for round_number in range(4):
        live_a_random_life(broker, clock, chance, 80)
        compacted += sum(compact_oldest(broker, broker.core.log) for _ in range(round_number))
        broker.core.log.sync()
        view = state_view(broker.core.state, clock.now_ms())
        former, broker = broker, start(stream, clock)  # which is not closed, as after a frozen process
        assert state_view(broker.core.state, clock.now_ms()) == view
        with pytest.raises(LogFailedError):
            former.produce("default", ["late"])
        former.close()
    assert compacted > 0
    broker.close()


def test_receipts_of_the_former_owner_are_valid(stream: LogStream) -> None:
    clock = FakeClock()
    former = start(stream, clock)
    former.produce("default", ["a", "b"])
    claimed = former.claim("default", limit=2)
    broker = start(stream, clock)
    with pytest.raises(LogFailedError):
        former.delete("default", Target(receipt=claimed[0].receipt))
    for message in claimed:
        broker.delete("default", Target(receipt=message.receipt))
    assert broker.claim("default", limit=2) == []
    broker.close()


def filled(stream: LogStream, clock: FakeClock) -> Broker:
    """Return a broker whose stream has no room for another message."""
    stream.limit_room(30)
    broker = Broker(stream.open(max_record_bytes=64_000), clock=clock, limits=LIMITS)
    until_full(lambda: broker.produce("default", ["x" * 900] * 3))
    return broker


def until_full(call: Callable[[], Any]) -> int:
    """Repeat a call until it finds no room; return how often it found some."""
    count = 0
    with contextlib.suppress(DiskFullError):
        while True:
            call()
            count += 1
    return count


def test_a_full_stream_refuses_messages_before_anything_is_changed(stream: LogStream) -> None:
    broker = filled(stream, FakeClock())
    count = len(broker.core.state.queues["default"].messages)
    for _ in range(3):
        with pytest.raises(DiskFullError, match="has no room"):
            broker.produce("default", ["x" * 900] * 3)
    assert len(broker.core.state.queues["default"].messages) == count
    reply = Client(broker)("POST", "/messages/produce", json={"messages": [{"message": "x" * 900}] * 3})
    check_refused(reply, 507, "disk_full")
    assert broker.core.log.failure is None
    broker.close()


def test_in_a_full_stream_claims_and_deletes_go_on_and_make_room(stream: LogStream) -> None:
    clock = FakeClock()
    broker = filled(stream, clock)
    maintenance = LogMaintenance(broker, broker.core.log, NoCheckpoints(), slack_bytes=PART_BYTES)
    deleted = 0
    while claimed := broker.claim("default", limit=3):
        for message in claimed:
            broker.delete("default", Target(receipt=message.receipt))
        deleted += len(claimed)
        maintenance.turn()
    assert deleted > 30
    broker.produce("default", ["room again"])
    view = state_view(broker.core.state, clock.now_ms())
    broker.close()
    broker = start(stream, clock)
    assert state_view(broker.core.state, clock.now_ms()) == view
    broker.close()


def test_reads_of_a_full_stream_are_refused_before_claims_are(stream: LogStream) -> None:
    """A confirmation needs a message in the stream, whose room is kept for claims and deletes."""
    broker = filled(stream, FakeClock())
    log = broker.core.log
    assert until_full(lambda: log.wait(log.confirm())) > 0
    for name in ("default", "nowhere"):
        with pytest.raises(DiskFullError):
            broker.queue(name)
    maintenance = LogMaintenance(broker, log, NoCheckpoints(), slack_bytes=PART_BYTES)
    while claimed := broker.claim("default", limit=10):
        for message in claimed:
            broker.delete("default", Target(receipt=message.receipt))
        maintenance.turn()
    assert not any(broker.queue("default").counts.values())
    broker.close()


def test_a_part_that_a_former_owner_drops_does_not_end_the_maintenance(stream: LogStream) -> None:
    broker = start(stream, FakeClock())
    for _ in range(12):
        (message_id,) = broker.produce("default", ["x" * 900])
        broker.delete("default", Target(id=message_id))
    log = broker.core.log
    oldest = log.oldest()
    assert oldest is not None
    maintenance = LogMaintenance(broker, log, NoCheckpoints(), slack_bytes=1)
    while compact_oldest(broker, log):
        pass  # all that is still needed stands at the end now
    for _ in range(12):
        (message_id,) = broker.produce("default", ["x" * 900])
        broker.delete("default", Target(id=message_id))
    found = log.oldest()
    assert found is not None
    stream.call("PURGE", {"seq": (found[0] >> 24) - 1})  # the frozen purge of a former owner, which goes less far
    maintenance.turn()
    maintenance.turn()
    assert not maintenance._has_failed
    broker.produce("default", ["still works"])
    broker.close()


def test_an_idle_broker_sends_nothing(stream: LogStream) -> None:
    clock = FakeClock()
    broker = start(stream, clock)
    broker.produce("default", ["a", "b"])
    broker.claim("default")
    housekeeper = Housekeeper(broker)
    maintenance = LogMaintenance(broker, broker.core.log, NoCheckpoints(), slack_bytes=PART_BYTES)
    housekeeper.turn()
    published = len(stream.jetstream.published)
    for _ in range(50):
        clock.advance(0.5)
        housekeeper.turn()
        maintenance.turn()
    assert len(stream.jetstream.published) == published
    broker.close()


def test_background_work_sends_what_it_appends_and_nothing_more(stream: LogStream) -> None:
    clock = FakeClock()
    broker = start(stream, clock)
    broker.put_queue("dead")
    broker.schedules.put("often", cron="* * * * *", timezone="UTC", queue="default", body="x")
    housekeeper = Housekeeper(broker)
    housekeeper.turn()
    published = len(stream.jetstream.published)
    for _ in range(120):
        clock.advance(0.5)
        housekeeper.turn()
    assert len(stream.jetstream.published) == published + 1, "the message of the one minute that has passed"
    broker.close()


def test_a_checkpoint_in_jetstream_serves_a_process_on_another_machine(stream: LogStream) -> None:
    clock, chance = FakeClock(), random.Random(4)
    checkpoints = JetStreamCheckpoints(stream.jetstream, stream.name, piece_bytes=2000, patience_s=PATIENCE_S)
    broker = start(stream, clock)
    live_a_random_life(broker, clock, chance, 100)
    appended = broker.log_bytes
    assert checkpoint(broker, broker.core.log, checkpoints) > 2000
    live_a_random_life(broker, clock, chance, 10)
    broker.core.log.sync()
    view, rest = state_view(broker.core.state, clock.now_ms()), broker.log_bytes - appended
    broker.close()
    another = JetStreamCheckpoints(stream.jetstream, stream.name, patience_s=PATIENCE_S)
    broker = Broker(stream.open(), checkpoints=another, clock=clock, limits=LIMITS)
    assert state_view(broker.core.state, clock.now_ms()) == view
    assert broker.log_bytes <= rest + 100, "only what came after the checkpoint was read"
    broker.close()


@pytest.mark.parametrize("unanswered", ["STREAM.INFO", "STREAM.MSG.GET"])
def test_checkpoints_out_of_reach_keep_no_log_from_its_next_owner(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch, unanswered: str
) -> None:
    """Their stream may be electing a leader, or have none for ever, while that of the log works."""
    monkeypatch.setattr("wonderq_storage.jetstream_checkpoints._READ_S", 0)
    clock, checkpoints = FakeClock(), JetStreamCheckpoints(stream.jetstream, stream.name, patience_s=PATIENCE_S)
    broker = start(stream, clock)
    live_a_random_life(broker, clock, random.Random(5), 50)
    checkpoint(broker, broker.core.log, checkpoints)
    broker.core.log.sync()
    view = state_view(broker.core.state, clock.now_ms())
    broker.close()
    read = JetStream.read

    def read_of_other_streams(self: JetStream, name: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        if name == f"{unanswered}.{stream.name}-checkpoints":
            raise NatsTimeoutError("NATS did not answer in time")
        return read(self, name, *arguments, **options)

    monkeypatch.setattr(JetStream, "read", read_of_other_streams)
    another = JetStreamCheckpoints(stream.jetstream, stream.name, patience_s=PATIENCE_S)
    broker = Broker(stream.open(), checkpoints=another, clock=clock, limits=LIMITS)
    assert state_view(broker.core.state, clock.now_ms()) == view
    broker.close()


def test_many_small_groups_make_a_checkpoint_due(stream: LogStream) -> None:
    """A next owner reads each of them: a node must not take ten seconds to take over because messages were small."""
    broker = start(stream, FakeClock())
    checkpoints = JetStreamCheckpoints(stream.jetstream, stream.name, patience_s=PATIENCE_S)
    maintenance = LogMaintenance(
        broker, broker.core.log, checkpoints, slack_bytes=1 << 30, checkpoint_every_bytes=100 * _GROUP_COST_BYTES
    )

    def send(count: int) -> None:
        for _ in range(count):
            broker.produce("default", ["x"])
        maintenance.turn()

    send(80)
    assert broker.counters.checkpoints == 0
    send(30)
    assert broker.counters.checkpoints == 1
    send(80)
    assert broker.counters.checkpoints == 1
    send(30)
    assert broker.counters.checkpoints == 2
    assert broker.log_bytes < 50 * _GROUP_COST_BYTES
    broker.close()


def test_a_stop_may_leave_the_checkpoint_to_others(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance_module, "WORTH_A_CHECKPOINT_BYTES", 0)
    broker = start(stream, FakeClock())
    for with_checkpoint in (False, True):
        maintenance = LogMaintenance(broker, broker.core.log, NoCheckpoints(), slack_bytes=1)
        maintenance.stop(with_checkpoint=with_checkpoint)
        assert broker.counters.checkpoints == with_checkpoint
    broker.close()
