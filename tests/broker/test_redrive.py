"""Redrives: which messages they move, where to, at which rate, and that they continue after a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import contents_of
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.reader import LoadedMessage
from wonderq.broker.redrive import KEPT, Redrive
from wonderq.model.attributes import Attribute
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    QueueNotFoundError,
    RedriveNotFoundError,
    RedriveRunningError,
)
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.state.state import State
from wonderq_storage import DiskFullError, FileLog, SyncPolicy


class World:
    """A broker with a clock and a log in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = MemoryLog()
        self.broker = Broker(self.log, clock=self.clock)

    def restart(self) -> None:
        """Restart with the durable records only, as after a crash."""
        self.log = self.log.after_crash()
        self.broker = Broker(self.log, clock=self.clock)

    def die(self, *bodies: str, queue: str = "work") -> None:
        """Let messages of a queue become dead letters in the queue ``dead``."""
        self.broker.put_queue(queue, max_receives=1, dead_letter_queue="dead")
        self.broker.produce(queue, bodies)
        self.broker.claim(queue, limit=len(bodies), visibility_timeout_ms=0)
        assert self.broker.claim(queue) == []

    def bodies(self, queue: str) -> list[str]:
        return [message.body for message in self.messages(queue)]

    def messages(self, queue: str) -> list[Message]:
        return list(self.broker.messages(queue))

    def finish(self, redrive_id: str) -> Redrive:
        for _ in range(1000):
            redrive = self.broker.redrives.get(redrive_id)
            if redrive.status != "running":
                return redrive
            wait_s = self.broker.redrives.run()
            self.clock.ms += 0 if wait_s == inf else round(wait_s * 1000)
        raise AssertionError("the redrive did not end")


@pytest.fixture
def world() -> World:
    return World()


class TestWhereTo:
    def test_each_goes_back_to_where_it_came_from_and_begins_anew(self, world: World) -> None:
        world.die("a", "b", queue="one")
        world.die("c", queue="two")
        world.clock.ms += 5000
        redrive = world.finish(world.broker.redrives.start("dead"))
        assert (redrive.status, redrive.moved, redrive.skipped, redrive.total) == ("completed", 3, 0, 3)
        assert world.messages("dead") == []
        assert (world.bodies("one"), world.bodies("two")) == (["a", "b"], ["c"])
        for message in world.messages("one"):
            assert (message.receives, message.first_claimed_ms, message.envelope) == (0, 0, None)
            assert message.produced_ms == world.clock.ms

    def test_what_has_no_origin_or_whose_queue_is_gone_stays(self, world: World) -> None:
        world.die("lost", queue="gone")
        world.die("found")
        world.broker.produce("dead", ["stranger"])
        world.broker.drop_queue("gone")
        redrive = world.finish(world.broker.redrives.start("dead"))
        assert (redrive.moved, redrive.skipped, redrive.total) == (1, 2, 3)
        assert world.bodies("dead") == ["lost", "stranger"]
        assert world.bodies("work") == ["found"]
        assert "gone" not in {info.name for info in world.broker.queues()}

    def test_what_came_from_the_source_itself_stays(self, world: World) -> None:
        world.die("x", queue="work")
        world.finish(world.broker.redrives.start("dead", "work"))
        world.broker.put_queue("dead", max_receives=1, dead_letter_queue="work")
        world.broker.put_queue("work", max_receives=0)
        world.broker.send("work", [NewMessage("y")])
        world.broker.claim("work", visibility_timeout_ms=0)
        world.broker.put_queue("dead", dead_letter_queue="third")
        world.broker.produce("dead", ["z"])
        world.broker.claim("dead", visibility_timeout_ms=0)
        world.broker.claim("dead")
        assert world.bodies("third") == ["z"]
        world.finish(world.broker.redrives.start("third"))  # z is in dead again, without an origin
        redrive = world.finish(world.broker.redrives.start("dead"))
        assert (redrive.moved, redrive.skipped) == (0, 1)

    def test_all_go_to_the_destination_with_what_they_carry_and_in_order(self, world: World) -> None:
        attributes: dict[str, Attribute] = {"tenant": ("String", "acme"), "raw": ("Binary", b"\0")}
        system = {"traceparent": "00-1-1-01"}
        messages = [
            NewMessage(str(n), attributes=attributes, system=system, group="g", priority=n % 3) for n in range(250)
        ]
        world.broker.send("source", messages)
        world.broker.put_queue("target.fifo")
        redrive = world.finish(world.broker.redrives.start("source", "target.fifo"))
        assert (redrive.moved, redrive.destination) == (250, "target.fifo")
        assert world.bodies("target.fifo") == [str(n) for n in range(250)]
        envelope = world.messages("target.fifo")[0].envelope
        assert envelope is not None
        assert (envelope.attributes, envelope.system, envelope.group) == (attributes, system, "g")
        assert [message.body for message in world.broker.claim("target.fifo", limit=2)] == ["0", "1"]
        world.broker.send("source", messages)
        world.broker.put_queue("plain")
        world.finish(world.broker.redrives.start("source", "plain"))
        assert [each.envelope.priority for each in world.broker.claim("plain", limit=2) if each.envelope] == [2, 2]

    def test_the_destinations_limits_do_not_matter(self, world: World) -> None:
        world.broker.put_queue("full", max_messages=1, draining=True)
        world.broker.produce("source", ["a", "b", "c"])
        assert world.finish(world.broker.redrives.start("source", "full")).moved == 3

    def test_waiting_consumers_of_the_destination_are_woken(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a"])
        world.finish(world.broker.redrives.start("source", "target"))
        assert [message.body for message in world.broker.claim("target")] == ["a"]


class TestWhich:
    def test_claimed_and_delayed_ones_stay_and_buried_ones_go(self, world: World) -> None:
        broker = world.broker
        broker.put_queue("target")
        broker.produce("source", ["claimed", "buried", "waiting"])
        broker.produce("source", ["delayed"], [60_000])
        [claimed] = broker.claim("source", limit=1)
        buried = world.messages("source")[1]
        broker.update("source", Target(id=buried.id), Change(bury=True))
        redrive = world.finish(broker.redrives.start("source", "target"))
        assert (redrive.moved, redrive.skipped, redrive.total) == (2, 2, 2)
        assert world.bodies("source") == ["claimed", "delayed"]
        assert world.bodies("target") == ["buried", "waiting"]
        assert {message.status for message in world.messages("target")} == {"unprocessed"}
        broker.delete("source", Target(receipt=claimed.receipt))

    def test_a_claim_that_has_ended_is_one_that_waits(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a"])
        world.broker.claim("source", visibility_timeout_ms=1000)
        world.clock.ms += 1000
        assert world.finish(world.broker.redrives.start("source", "target")).moved == 1

    def test_what_arrives_after_the_start_stays(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["before"])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.produce("source", ["after"])
        assert world.finish(redrive_id).moved == 1
        assert world.bodies("source") == ["after"]

    def test_by_text_and_attribute(self, world: World) -> None:
        def message(body: str, **attributes: Attribute) -> NewMessage:
            return NewMessage(body, attributes=attributes)

        acme, other = ("String", "acme"), ("String", "other")
        raw: Attribute = ("Binary", b"\0\1")
        world.broker.put_queue("target")
        world.broker.send(
            "source",
            [
                message("cat 1", tenant=acme),
                message("cat 2", tenant=other, count=("Number", "5")),
                message("dog 3", tenant=acme, raw=raw),
                message("cat 4"),
            ],
        )

        def moved(**which: str) -> list[str]:
            redrive = world.finish(world.broker.redrives.start("source", "target", **which))  # type: ignore[arg-type]
            found = world.bodies("target")
            world.broker.purge("target")
            assert redrive.moved + redrive.skipped == redrive.total
            return found

        assert moved(contains="cat", attribute="tenant=acme") == ["cat 1"]
        assert moved(attribute="count=5") == ["cat 2"]
        assert moved(attribute="raw=AAE=") == ["dog 3"]
        assert moved(attribute="tenant") == []
        assert moved(contains="cat") == ["cat 4"]

    def test_no_more_than_the_limit(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(300)])
        redrive = world.finish(world.broker.redrives.start("source", "target", limit=120))
        assert (redrive.status, redrive.moved) == ("completed", 120)
        assert world.bodies("target") == [str(n) for n in range(120)]

    def test_a_dry_run_counts_and_moves_nothing(self, world: World) -> None:
        world.die("a", "b")
        world.broker.produce("dead", ["stranger"])
        before = world.messages("dead")
        redrive = world.finish(world.broker.redrives.start("dead", dry_run=True))
        assert (redrive.status, redrive.moved, redrive.skipped, redrive.dry_run) == ("completed", 2, 1, True)
        assert world.messages("dead") == before
        assert world.messages("work") == []

    def test_large_messages_go_in_small_portions(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["x" * 200_000 for _ in range(5)])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.redrives.run()
        assert world.broker.redrives.get(redrive_id).moved == 1
        assert world.finish(redrive_id).moved == 5


class TestHowFast:
    @pytest.mark.parametrize("per_second", [1, 7, 40, 1000])
    def test_no_more_a_second_than_was_asked_for(self, world: World, per_second: int) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(min(2 * per_second, 1000))])
        redrive_id = world.broker.redrives.start("source", "target", per_second=per_second)
        began_ms = world.clock.ms
        world.finish(redrive_id)
        arrivals = Counter((message.produced_ms - began_ms) // 1000 for message in world.messages("target"))
        assert max(arrivals.values()) <= per_second
        assert sum(arrivals.values()) / per_second * 1050 >= world.clock.ms - began_ms

    def test_messages_that_are_passed_over_do_not_count(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["no"] * 500 + ["yes"])
        redrive_id = world.broker.redrives.start("source", "target", per_second=1, contains="yes")
        began_ms = world.clock.ms
        world.finish(redrive_id)
        assert world.clock.ms - began_ms <= 1000
        assert world.bodies("target") == ["yes"]


class TestRefused:
    def test_filters_of_the_greatest_length_are_taken(self, world: World) -> None:
        world.broker.put_queue("source")
        longest = "x" * 1024
        redrive_id = world.broker.redrives.start("source", "default", contains=longest, attribute=longest, limit=1)
        redrive = world.broker.redrives.get(redrive_id)
        assert (redrive.contains, redrive.attribute) == (longest, longest)

    def test_what_cannot_be(self, world: World) -> None:
        redrives = world.broker.redrives
        world.broker.put_queue("source")
        with pytest.raises(QueueNotFoundError):
            redrives.start("nowhere")
        with pytest.raises(QueueNotFoundError):
            redrives.start("source", "nowhere")
        with pytest.raises(InvalidValueError, match="another queue"):
            redrives.start("source", "source")
        wrong: list[dict[str, int | str]] = [
            {"per_second": 0},
            {"per_second": 1_000_001},
            {"limit": 0},
            {"contains": ""},
            {"attribute": "x" * 1025},
        ]
        for each in wrong:
            [field] = each
            with pytest.raises(InvalidValueError) as caught:
                redrives.start("source", "default", **each)  # type: ignore[arg-type]
            assert caught.value.field == field
        with pytest.raises(RedriveNotFoundError):
            redrives.get("none")
        with pytest.raises(RedriveNotFoundError):
            redrives.cancel("none")
        with pytest.raises(QueueNotFoundError):
            redrives.list("nowhere")
        assert redrives.list("source") == []

    def test_one_move_of_a_queue_at_a_time(self, world: World) -> None:
        world.broker.produce("source", ["a"])
        world.broker.produce("other", ["b"])
        redrive_id = world.broker.redrives.start("source", "default")
        with pytest.raises(RedriveRunningError, match=redrive_id):
            world.broker.redrives.start("source", "default")
        other_id = world.broker.redrives.start("other", "default")
        world.finish(redrive_id)
        world.finish(other_id)
        world.finish(world.broker.redrives.start("source", "default"))
        assert sorted(world.bodies("default")) == ["a", "b"]


class TestEnd:
    def test_cancelled_it_stays_where_it_is(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(250)])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.redrives.run()
        cancelled, _ = world.broker.redrives.cancel(redrive_id)
        assert (cancelled.status, cancelled.moved, cancelled.ended_ms) == ("cancelled", 100, world.clock.ms)
        assert world.broker.redrives.run() == inf
        assert len(world.messages("target")) == 100
        assert world.broker.redrives.cancel(redrive_id) == (cancelled, False)
        assert world.finish(world.broker.redrives.start("source", "target")).moved == 150

    def test_of_those_that_ended_the_last_ten_are_kept(self, world: World) -> None:
        world.broker.produce("source", ["a"])
        ids = []
        for _ in range(KEPT + 3):
            world.clock.ms += 1
            ids.append(world.broker.redrives.start("source", dry_run=True))
            world.finish(ids[-1])
        world.clock.ms += 1
        running = world.broker.redrives.start("source", "default")
        assert [redrive.id for redrive in world.broker.redrives.list("source")] == [running, *reversed(ids[-KEPT:])]
        with pytest.raises(RedriveNotFoundError):
            world.broker.redrives.get(ids[2])

    def test_it_fails_when_its_destination_is_deleted(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a"])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.drop_queue("target")
        redrive = world.finish(redrive_id)
        assert (redrive.status, redrive.failure) == ("failed", "The queue target was deleted.")
        assert world.bodies("source") == ["a"]

    def test_it_goes_with_its_queue_whatever_gets_its_name(self, world: World) -> None:
        world.broker.produce("source", ["a"])
        redrive_id = world.broker.redrives.start("source", "default")
        world.broker.drop_queue("source")
        world.broker.produce("source", ["b"])
        assert world.broker.redrives.list("source") == []
        world.broker.redrives.run()
        with pytest.raises(RedriveNotFoundError):
            world.broker.redrives.get(redrive_id)
        assert world.bodies("source") == ["b"]

    def test_on_a_full_disk_it_waits(self, world: World) -> None:
        world.broker.produce("source", ["a"])
        redrive_id = world.broker.redrives.start("source", "default")
        world.log.room_bytes = 0
        with pytest.raises(DiskFullError):
            world.broker.redrives.run()
        assert world.bodies("source") == ["a"]
        world.log.room_bytes = 1 << 40
        assert world.finish(redrive_id).moved == 1

    def test_on_a_full_disk_its_end_waits(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a"])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.redrives.run()
        world.log.room_bytes = 0
        with pytest.raises(DiskFullError):
            world.broker.redrives.run()
        assert (world.broker.redrives.get(redrive_id).status, world.broker.redrives.running) == ("running", 1)
        world.log.room_bytes = 1 << 40
        assert world.finish(redrive_id).status == "completed"
        assert world.broker.redrives.running == 0
        world.broker.redrives.start("source", "target")

    def test_a_full_disk_refuses_its_cancellation_and_it_goes_on(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(250)])
        redrive_id = world.broker.redrives.start("source", "target")
        world.log.room_bytes = 0
        with pytest.raises(DiskFullError):
            world.broker.redrives.cancel(redrive_id)
        world.log.room_bytes = 1 << 40
        assert (world.finish(redrive_id).status, len(world.messages("target"))) == ("completed", 250)

    def test_a_full_disk_refuses_its_failure_and_it_fails_later(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a"])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.drop_queue("target")
        world.log.room_bytes = 0
        with pytest.raises(DiskFullError):
            world.broker.redrives.run()
        world.log.room_bytes = 1 << 40
        assert world.finish(redrive_id).status == "failed"
        assert world.broker.redrives.running == 0

    def test_a_full_disk_refuses_that_there_is_no_room_for_an_outbox(self) -> None:
        log = MemoryLog()
        broker = Broker(log, limits=Limits(queues=2), has_name=lambda name: name != "elsewhere")
        broker.core.others = Elsewhere()
        broker.produce("source", ["a"])
        redrive_id = broker.redrives.start("source", "elsewhere")
        log.room_bytes = 0
        with pytest.raises(DiskFullError):
            broker.redrives.run()
        log.room_bytes = 1 << 40
        assert broker.redrives.run() == inf
        assert broker.redrives.get(redrive_id).status == "failed"


class Elsewhere:
    """The other shards of a cluster, which have every queue."""

    def attributes_of(self, queue: str) -> Mapping[str, str]:
        return {}

    def sources_of(self, queue: str, after: str) -> Iterator[str]:
        return iter(())


class TestMeanwhile:
    """Changes by others between reading a portion and moving it, while the lock is not held."""

    @pytest.fixture
    def moving(self, world: World) -> tuple[World, str]:
        world.broker.put_queue("target")
        world.broker.produce("source", ["a", "b", "c"])
        return world, world.broker.redrives.start("source", "target")

    def meanwhile(self, world: World, do: Callable[[], object]) -> None:
        load_messages = world.broker.redrives._reader.load

        def read(*args: Any) -> list[LoadedMessage]:
            letters = load_messages(*args)
            world.broker.redrives._reader.load = load_messages  # type: ignore[method-assign]
            do()
            return letters

        world.broker.redrives._reader.load = read  # type: ignore[method-assign, assignment]

    def test_claimed_it_stays(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        self.meanwhile(world, lambda: world.broker.claim("source", limit=1))
        redrive = world.finish(redrive_id)
        assert (redrive.moved, redrive.skipped) == (2, 1)
        assert (world.bodies("source"), world.bodies("target")) == (["a"], ["b", "c"])

    def test_claimed_and_given_back_it_is_moved(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        self.meanwhile(world, lambda: world.broker.claim("source", limit=2, visibility_timeout_ms=0))
        assert world.finish(redrive_id).moved == 3
        assert world.bodies("target") == ["a", "b", "c"]

    def test_deleted_it_is_gone(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        second = world.messages("source")[1]
        self.meanwhile(world, lambda: world.broker.delete("source", Target(id=second.id)))
        redrive = world.finish(redrive_id)
        assert (redrive.moved, redrive.skipped) == (2, 0)
        assert (world.bodies("source"), world.bodies("target")) == ([], ["a", "c"])

    def test_rewritten_it_is_moved_as_it_is_now(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        second = world.messages("source")[1]
        self.meanwhile(world, lambda: world.broker.update("source", Target(id=second.id), Change(body="new")))
        assert world.finish(redrive_id).moved == 3
        assert world.bodies("target") == ["a", "new", "c"]

    def test_compacted_it_is_moved(self, tmp_path: Path) -> None:
        world = World()
        log = FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=4096)
        world.broker = Broker(log, clock=world.clock)
        world.broker.put_queue("target")
        world.broker.produce("source", ["a".ljust(1000), "b".ljust(1000)])
        redrive_id = world.broker.redrives.start("source", "target")
        world.broker.produce("default", ["x" * 1000] * 3)
        log.rotate()
        log.sync()
        self.meanwhile(world, lambda: compact_oldest(world.broker, log))
        assert world.finish(redrive_id).moved == 2
        assert [body.strip() for body in world.bodies("target")] == ["a", "b"]
        world.broker.close()
        again = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=4096), clock=world.clock)
        assert again.redrives.get(redrive_id).status == "completed"
        again.close()

    def test_cancelled_the_portion_stays(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        self.meanwhile(world, lambda: world.broker.redrives.cancel(redrive_id))
        assert world.finish(redrive_id).moved == 0
        assert world.bodies("source") == ["a", "b", "c"]

    def test_cancelled_while_another_goes_on(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        world.broker.produce("other", ["x"])
        other_id = world.broker.redrives.start("other", "target")
        self.meanwhile(world, lambda: world.broker.redrives.cancel(other_id))
        world.finish(redrive_id)
        assert (world.bodies("target"), world.bodies("other")) == (["a", "b", "c"], ["x"])

    def test_its_queue_is_gone(self, moving: tuple[World, str]) -> None:
        world, redrive_id = moving
        self.meanwhile(world, lambda: world.broker.drop_queue("source"))
        world.broker.redrives.run()
        with pytest.raises(RedriveNotFoundError):
            world.broker.redrives.get(redrive_id)
        assert world.broker.redrives.run() == inf
        assert world.bodies("target") == []


class TestRestart:
    def test_it_goes_on_where_it_was(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(350)])
        redrive_id = world.broker.redrives.start("source", "target", per_second=1_000_000)
        world.broker.redrives.run()
        before = world.broker.redrives.get(redrive_id)
        world.restart()
        assert world.broker.redrives.get(redrive_id) == before
        assert world.broker.redrives.running == 1
        world.broker.produce("source", ["after"])
        assert world.finish(redrive_id).moved == 350
        assert world.bodies("target") == [str(n) for n in range(350)]
        assert world.bodies("source") == ["after"]

    def test_a_crash_undoes_a_portion_with_what_was_counted(self, world: World) -> None:
        world.broker.put_queue("target")
        world.broker.produce("source", [str(n) for n in range(250)])
        redrive_id = world.broker.redrives.start("source", "target")
        for portion in range(4):
            again = Broker(world.log.after_crash(), clock=world.clock)
            assert (
                again.redrives.get(redrive_id).moved == len(list(again.messages("target"))) == min(portion * 100, 250)
            )
            assert len(list(again.messages("source"))) == 250 - again.redrives.get(redrive_id).moved
            world.broker.redrives.run()

    def test_a_snapshot_has_moves_too(self, world: World) -> None:
        world.broker.produce("source", ["a"])
        world.broker.redrives.start("source", "default", contains="é")
        state = world.broker.core.state
        again = State.load(state.freeze().chunks(0))
        assert contents_of(again, world.clock.ms) == contents_of(state, world.clock.ms)


OPERATIONS = st.lists(
    st.sampled_from(
        ["produce", "claim", "delete", "release", "start", "run", "cancel", "restart", "wait", "bury", "expire"]
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(operations=OPERATIONS, chance=st.randoms(use_true_random=False))
def test_no_message_is_lost_or_twice_whatever_happens(operations: list[str], chance: Random) -> None:
    world = World()
    world.broker.put_queue("target")
    produced = 0
    deleted: set[str] = set()
    held: list[Message] = []
    for operation in operations:
        broker = world.broker
        try:
            if operation == "produce":
                count = chance.choice([1, 3, 120])
                broker.produce("source", [str(n) for n in range(produced, produced + count)])
                produced += count
            elif operation == "claim":
                held += broker.claim(chance.choice(["source", "target"]), limit=chance.choice([1, 50]))
            elif operation == "delete" and held:
                message = held.pop()
                broker.delete(message.queue, Target(receipt=message.receipt))
                deleted.add(message.body)
            elif operation == "release" and held:
                message = held.pop()
                broker.update(message.queue, Target(receipt=message.receipt), Change(visibility_timeout_ms=0))
            elif operation == "bury" and held:
                message = held.pop()
                broker.update(message.queue, Target(receipt=message.receipt), Change(bury=True))
            elif operation == "start":
                per_second = chance.choice([None, 5])
                source, target = chance.choice([("source", "target"), ("target", "source")])
                broker.redrives.start(source, target, per_second=per_second)
            elif operation == "run":
                broker.redrives.run()
            elif operation == "cancel":
                for redrive in broker.redrives.list("source")[:1]:
                    broker.redrives.cancel(redrive.id)
            elif operation == "restart":
                world.restart()
            elif operation == "wait":
                world.clock.ms += chance.choice([100, 40_000])
            elif operation == "expire":
                broker.upkeep()
        except BrokerError:
            pass
        there = Counter(world.bodies("source") + world.bodies("target")) if produced else Counter()
        assert there == Counter(str(n) for n in range(produced) if str(n) not in deleted)
