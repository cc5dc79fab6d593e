"""Schedules: when they are due, that each time has its message once, and what becomes of times that were missed."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import contents_of
from wonderq.broker import schedules
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.cron import times_after
from wonderq.broker.schedules import MAX_MESSAGE_BYTES, MAX_MISSED, ON_TIME_MS
from wonderq.model.errors import InvalidQueueNameError, InvalidValueError, ScheduleNotFoundError, TooManySchedulesError
from wonderq.model.messages import Message
from wonderq.state.state import State
from wonderq_storage import DiskFullError, FileLog, SyncPolicy

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

#: A whole hour.
START_MS = 1_700_002_800_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def shown(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def waits_of(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the positions for which the log is waited for from now on."""
    waits: list[int] = []
    wait = world.log.wait
    monkeypatch.setattr(world.log, "wait", lambda position: (waits.append(position), wait(position)))
    return waits


class World:
    def __init__(self, *, create_queues: bool = True) -> None:
        self.clock = FakeClock(START_MS)
        self.create_queues = create_queues
        self.log = MemoryLog()
        self.open()

    def open(self) -> None:
        self.broker = Broker(self.log, clock=self.clock, create_queues=self.create_queues)

    def restart(self, after_ms: int = 0) -> None:
        self.clock.ms += after_ms
        self.log = self.log.after_crash()
        self.open()

    def put(self, name: str = "often", **fields: Any) -> None:
        given = {"cron": "* * * * *", "queue": "jobs", "body": "go", **fields}
        self.broker.schedules.put(name, **given)

    def fire(self, after_ms: int = 0) -> float:
        self.clock.ms += after_ms
        return self.broker.schedules.fire_due()

    def messages(self, queue: str = "jobs") -> list[Message]:
        return [] if queue not in self.broker.core.state.queues else list(self.broker.messages(queue))

    def times(self, queue: str = "jobs") -> list[int]:
        """The times for which there are messages."""
        found = []
        for message in self.messages(queue):
            assert message.envelope is not None
            found.append(ms(str(message.envelope.attributes["scheduled_at"][1])))
        return found


@pytest.fixture
def world() -> World:
    return World()


class TestTimes:
    def of(self, cron: str, zone: str, after: str, count: int = 3) -> list[str]:
        times = islice(times_after(cron, zone, ms(after)), count)
        tz = UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone)
        return [datetime.fromtimestamp(each / 1000, tz).isoformat() for each in times]

    def test_in_utc(self) -> None:
        found = self.of("30 4 * * MON-FRI", "UTC", "2026-01-01T04:30:00+00:00")
        assert found == ["2026-01-02T04:30:00+00:00", "2026-01-05T04:30:00+00:00", "2026-01-06T04:30:00+00:00"]

    def test_with_seconds(self) -> None:
        found = self.of("*/20 * * * * *", "UTC", "2026-01-01T00:00:39+00:00")
        assert [each[17:19] for each in found] == ["40", "00", "20"]

    def test_strictly_after(self) -> None:
        at = ms("2026-01-01T00:00:00+00:00")
        assert next(times_after("* * * * *", "UTC", at)) == at + MINUTE_MS
        assert next(times_after("* * * * *", "UTC", at - 1)) == at
        assert next(times_after("* * * * *", "UTC", at + 1)) == at + MINUTE_MS

    def test_a_time_that_is_left_out_is_due_when_the_clock_has_been_put_forward(self) -> None:
        found = self.of("30 2 * * *", "Europe/Vienna", "2026-03-28T12:00:00+01:00")
        assert found[:2] == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]

    def test_two_times_that_become_one_are_due_once(self) -> None:
        found = self.of("0,30 2 * * *", "Europe/Vienna", "2026-03-28T12:00:00+01:00")
        assert found[:2] == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]

    def test_a_time_that_comes_twice_is_due_once(self) -> None:
        found = self.of("30 2 * * *", "Europe/Vienna", "2026-10-24T12:00:00+02:00")
        assert found[:2] == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        between = self.of("30 2 * * *", "Europe/Vienna", "2026-10-25T02:10:00+01:00")
        assert between[0] == "2026-10-26T02:30:00+01:00"

    def test_what_is_due_all_the_time_is_due_in_the_hour_that_comes_twice_too(self) -> None:
        found = self.of("*/30 * * * *", "Europe/Vienna", "2026-10-25T01:59:00+02:00", 5)
        assert [each[11:16] + each[19:] for each in found] == [
            *("02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00", "03:00+01:00"),
        ]

    @pytest.mark.parametrize(
        "cron",
        [
            "",
            "x",
            "* * * *",
            "60 * * * *",
            "* * 32 * *",
            "* * * 13 *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@daily",
            "* " * 5 + "*" * 200,
        ],
    )
    def test_what_is_no_cron_expression(self, cron: str) -> None:
        with pytest.raises(InvalidValueError, match="not a cron expression") as caught:
            times_after(cron, "UTC", START_MS)
        assert caught.value.field == "cron"

    @pytest.mark.parametrize(
        "zone", ["", "Nowhere/Else", "../etc/passwd", "/etc/localtime", "Europe", "a\0b", "x" * 300]
    )
    def test_what_is_no_time_zone(self, zone: str) -> None:
        with pytest.raises(InvalidValueError, match="not a time zone") as caught:
            times_after("* * * * *", zone, START_MS)
        assert caught.value.field == "timezone"

    @settings(max_examples=300, deadline=None)
    @given(text=st.text("0123456789*/,-#LW MONSUJANFEB²", max_size=30))
    def test_any_text_is_an_expression_or_refused(self, text: str) -> None:
        try:
            times = times_after(text, "UTC", START_MS)
        except InvalidValueError:
            return
        assert next(times, START_MS + 1) > START_MS

    @settings(max_examples=200, deadline=None)
    @given(
        cron=st.sampled_from(
            ["*/7 * * * *", "0 */3 * * *", "15,45 1-3 * * *", "0 0 * * *", "30 2 * * SUN", "*/13 5 2 * * *"]
        ),
        zone=st.sampled_from(sorted(zoneinfo.available_timezones())),
        day=st.integers(0, 3650),
        second=st.integers(0, 86_399),
    )
    def test_times_ascend_in_any_zone_and_do_not_depend_on_where_one_begins(
        self, cron: str, zone: str, day: int, second: int
    ) -> None:
        begin = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=second)
        after_ms = int(begin.timestamp()) * 1000
        times = list(islice(times_after(cron, zone, after_ms), 20))
        assert times == sorted(set(times))
        assert times[0] > after_ms
        for at, following in pairwise(times):
            assert next(times_after(cron, zone, at)) == following


class TestFiring:
    def test_each_time_has_a_message(self, world: World) -> None:
        world.put(attributes={"tenant": ("String", "acme")}, group="g", priority=3, delay_ms=5000)
        assert world.fire() == 60
        assert world.messages() == []
        assert world.fire(MINUTE_MS + 20) == pytest.approx(59.98)
        world.fire(MINUTE_MS)
        assert world.times() == [START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS]
        message = world.messages()[0]
        assert message.body == "go"
        assert world.messages()[1].status == "delayed"
        assert world.messages()[1].due_ms == world.clock.ms + 5000
        assert message.envelope is not None
        assert (message.envelope.group, message.envelope.priority) == ("g", 3)
        assert message.envelope.attributes == {
            "schedule": ("String", "often"),
            "scheduled_at": ("String", shown(START_MS + MINUTE_MS)),
            "tenant": ("String", "acme"),
        }
        schedule = world.broker.schedules.get("often")
        assert (schedule.last_ms, schedule.next_ms) == (START_MS + 2 * MINUTE_MS, START_MS + 3 * MINUTE_MS)
        assert (world.broker.counters.schedules_fired, world.broker.counters.schedules_missed) == (2, 0)

    def test_all_times_of_a_late_housekeeper(self, world: World) -> None:
        world.put(cron="* * * * * *")
        world.fire(5000)
        assert world.times() == [START_MS + 1000 * n for n in range(1, 6)]

    def test_an_empty_message(self, world: World) -> None:
        world.put(body="")
        world.fire(MINUTE_MS)
        assert [message.body for message in world.messages()] == [""]

    def test_attributes_of_its_own_come_first(self, world: World) -> None:
        world.put(attributes={"schedule": ("Number", "7")})
        world.fire(MINUTE_MS)
        [message] = world.messages()
        assert message.envelope is not None
        assert message.envelope.attributes["schedule"] == ("Number", "7")

    def test_without_schedules_nothing_is_due(self, world: World) -> None:
        assert world.fire() == inf
        world.put()
        world.broker.schedules.delete("often")
        assert world.fire(HOUR_MS) == inf
        assert world.messages() == []

    def test_waiting_consumers_get_it(self, world: World) -> None:
        world.broker.put_queue("jobs")
        world.put()
        world.fire(MINUTE_MS)
        assert [message.body for message in world.broker.claim("jobs")] == ["go"]

    def test_two_schedules_do_not_hold_up_each_other(self, world: World) -> None:
        world.put("a", cron="*/2 * * * *", queue="a")
        world.put("b", cron="*/3 * * * *", queue="b")
        for _ in range(6):
            world.fire(MINUTE_MS)
        assert [(each - START_MS) // MINUTE_MS for each in world.times("a")] == [2, 4, 6]
        assert [(each - START_MS) // MINUTE_MS for each in world.times("b")] == [3, 6]


class TestMissed:
    DOWN_MS = 10 * MINUTE_MS

    @pytest.mark.parametrize(("missed", "made_up"), [("skip", []), ("once", [9]), ("all", [1, 2, 3, 4, 5, 6, 7, 8, 9])])
    def test_as_the_schedule_says(self, world: World, missed: str, made_up: list[int]) -> None:
        world.put(missed=missed)
        world.restart(self.DOWN_MS + 30_000)
        world.fire()
        expected = [START_MS + n * MINUTE_MS for n in [*made_up, 10]]  # the last one is still on time
        assert world.times() == expected
        assert world.broker.counters.schedules_missed == 9 - len(made_up)
        assert world.broker.schedules.get("often").next_ms == START_MS + 11 * MINUTE_MS
        world.fire()
        assert world.times() == expected

    @pytest.mark.parametrize("missed", ["skip", "once", "all"])
    def test_what_is_late_by_a_minute_at_most_is_not_missed(self, world: World, missed: str) -> None:
        world.put(cron="0 0 * * *", missed=missed)
        next_ms = world.broker.schedules.get("often").next_ms
        assert next_ms is not None
        world.clock.ms = next_ms + ON_TIME_MS
        world.restart()
        world.fire()
        assert world.times() == [next_ms]

    def test_after_years_no_more_than_a_thousand_are_made_up_for(self, world: World) -> None:
        world.put(cron="* * * * * *", missed="all")
        world.restart(2 * 365 * 24 * HOUR_MS)
        world.fire()
        on_time = [world.clock.ms - 1000 * n for n in range(60, -1, -1)]
        assert world.times() == [*(START_MS + 1000 * n for n in range(1, MAX_MISSED + 1)), *on_time]
        assert world.broker.schedules.get("often").next_ms == world.clock.ms + 1000

    def test_a_crash_while_they_are_made_up_for(self, world: World) -> None:
        world.put(cron="* * * * * *", missed="all")
        world.restart(HOUR_MS // 4)
        commits = []
        append_together = world.log.append_together

        def note(records: Sequence[bytes], **options: int) -> list[int]:
            commits.append(len(world.log.records))
            return append_together(records, **options)

        world.log.append_together = note  # type: ignore[method-assign]
        world.fire()
        expected = world.times()
        assert expected == [START_MS + 1000 * n for n in range(1, 901)]
        assert len(commits) > 5
        for cut in commits:
            again = World()
            again.clock = world.clock
            again.log = MemoryLog(world.log.records[:cut])
            again.open()
            again.fire()
            assert again.times() == expected

    def test_a_queue_that_takes_no_message(self, world: World) -> None:
        world.broker.put_queue("jobs", max_messages=1)
        world.put()
        world.fire(MINUTE_MS)
        world.fire(MINUTE_MS)
        schedule = world.broker.schedules.get("often")
        assert schedule.failure is not None
        assert "max_messages" in schedule.failure
        assert (schedule.last_ms, schedule.next_ms) == (START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS)
        assert world.broker.counters.schedules_missed == 1
        world.broker.purge("jobs")
        world.fire(MINUTE_MS)
        assert world.times() == [START_MS + 3 * MINUTE_MS]
        assert world.broker.schedules.get("often").failure is None

    def test_a_queue_that_is_not_there_and_may_not_be_made(self) -> None:
        world = World(create_queues=False)
        world.put()
        world.fire(MINUTE_MS)
        assert world.broker.schedules.get("often").failure is not None
        assert "jobs" not in {info.name for info in world.broker.queues()}

    def test_a_full_disk(self, world: World) -> None:
        world.put(missed="all")
        world.log.room_bytes = 0
        for _ in range(3):
            with pytest.raises(DiskFullError):
                world.fire(MINUTE_MS)
        world.log.room_bytes = 1 << 40
        world.fire()
        assert world.times() == [START_MS + n * MINUTE_MS for n in (1, 2, 3)]

    def test_a_time_zone_that_is_not_known_any_more(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.put(timezone="Europe/Vienna")
        world.put("other")

        def unknown(cron: str, timezone: str, after_ms: int) -> Any:
            return times_after(cron, timezone if timezone == "UTC" else "Atlantis", after_ms)

        monkeypatch.setattr(schedules, "times_after", unknown)
        world.fire(MINUTE_MS)
        schedule = world.broker.schedules.get("often")
        assert schedule.failure is not None
        assert (schedule.next_ms, "Atlantis" in schedule.failure) == (None, True)
        assert world.times() == [START_MS + MINUTE_MS]


class TestChanging:
    def test_what_is_not_given_stays(self, world: World) -> None:
        world.put(attributes={"a": ("Binary", b"\0")}, missed="once")
        before = world.broker.schedules.get("often")
        after, created = world.broker.schedules.put("often", body="new")
        assert not created
        assert after.body == "new"
        assert (after.attributes, after.missed, after.next_ms) == (before.attributes, "once", before.next_ms)
        assert world.broker.schedules.get("often") == after
        world.restart()
        assert world.broker.schedules.get("often") == after
        size = len(world.log.records)
        world.broker.schedules.put("often", body="new")
        assert len(world.log.records) == size

    def test_another_expression_is_due_from_now_on(self, world: World) -> None:
        world.put()
        world.clock.ms += 10 * MINUTE_MS
        after, _ = world.broker.schedules.put("often", cron="0 * * * *")
        assert after.next_ms == START_MS + HOUR_MS
        world.fire()
        assert world.messages() == []

    def test_paused_it_misses_nothing(self, world: World) -> None:
        world.put(missed="all")
        paused, _ = world.broker.schedules.put("often", paused=True)
        assert paused.next_ms is None
        assert world.fire(10 * MINUTE_MS) == inf
        resumed, _ = world.broker.schedules.put("often", paused=False)
        assert resumed.next_ms == START_MS + 11 * MINUTE_MS
        world.fire(MINUTE_MS)
        assert world.times() == [START_MS + 11 * MINUTE_MS]
        assert world.broker.counters.schedules_missed == 0

    def test_made_paused(self, world: World) -> None:
        world.put(paused=True)
        assert world.broker.schedules.get("often").next_ms is None

    def test_listed_by_name_and_deleted(self, world: World) -> None:
        for name in ("b", "c", "a"):
            world.put(name)
        assert [each.name for each in world.broker.schedules.list()] == ["a", "b", "c"]
        world.broker.schedules.delete("b")
        world.restart()
        assert [each.name for each in world.broker.schedules.list()] == ["a", "c"]
        with pytest.raises(ScheduleNotFoundError):
            world.broker.schedules.delete("b")
        with pytest.raises(ScheduleNotFoundError):
            world.broker.schedules.get("b")

    def test_it_outlives_its_queue(self, world: World) -> None:
        world.put()
        world.fire(MINUTE_MS)
        world.broker.drop_queue("jobs")
        world.fire(MINUTE_MS)
        assert world.times() == [START_MS + 2 * MINUTE_MS]

    def test_changed_by_two_at_once_it_has_both_changes(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.put()

        def change_first(*args: Any) -> Any:
            monkeypatch.undo()
            world.broker.schedules.put("often", body="first")
            return times_after(*args)

        monkeypatch.setattr(schedules, "times_after", change_first)
        changed, created = world.broker.schedules.put("often", missed="all")
        assert (changed.body, changed.missed, created) == ("first", "all", False)
        assert world.broker.schedules.get("often") == changed

    def test_changed_while_it_fires_it_fires_as_changed(self, world: World) -> None:
        world.put()
        world.clock.ms += MINUTE_MS
        send_with = world.broker.schedules._producer.send_with

        def change_first(*args: Any) -> bool:
            world.broker.schedules._producer.send_with = send_with  # type: ignore[method-assign]
            world.broker.schedules.put("often", body="changed")
            return send_with(*args)

        world.broker.schedules._producer.send_with = change_first  # type: ignore[method-assign, assignment]
        assert world.fire() == 0
        assert world.messages() == []
        world.fire()
        assert [message.body for message in world.messages()] == ["changed"]

    def test_those_that_are_due_together_share_syncs(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(300):
            world.put(f"s{number}", queue=f"jobs-{number % 3}", body="x" * 1000)
        waits = waits_of(world, monkeypatch)
        world.clock.ms += MINUTE_MS
        while world.fire() == 0:
            pass
        assert 2 <= len(waits) <= 5, "each for about 256 KiB"
        world.restart()
        assert [len(world.messages(f"jobs-{number}")) for number in range(3)] == [100] * 3, "all of it is durable"
        world.fire()
        assert [len(world.messages(f"jobs-{number}")) for number in range(3)] == [100] * 3

    def test_those_that_are_refused_together_share_syncs(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.broker.put_queue("jobs", max_messages=1)
        for number in range(300):
            world.put(f"s{number}")
        waits = waits_of(world, monkeypatch)
        world.clock.ms += MINUTE_MS
        while world.fire() == 0:
            pass
        assert len(waits) <= 5
        world.restart()
        refused = [each.failure for each in world.broker.schedules.list() if each.failure is not None]
        assert len(refused) == 299
        assert len(world.messages()) == 1

    def test_a_stop_leaves_the_others_for_the_next_start(self, world: World) -> None:
        for number in range(50):
            world.put(f"s{number}")
        world.clock.ms += MINUTE_MS
        assert world.broker.schedules.fire_due(lambda: True) == 0
        fired = len(world.messages())
        assert 0 < fired < 50
        world.restart()
        assert len(world.messages()) == fired
        world.fire()
        assert len(world.messages()) == 50

    def test_many_that_are_due_leave_turns_to_other_work_and_are_not_missed_by_that(self, world: World) -> None:
        for number in range(250):
            world.put(f"s{number}", missed="skip")
        world.clock.ms += MINUTE_MS
        fired = []
        for _ in range(3):
            assert world.broker.schedules.fire_due() == 0
            fired.append(len(world.messages()))
            world.clock.ms += 40_000  # other work of the same thread
        assert fired == [100, 200, 350], "half of those of the third turn have been due twice"
        assert world.broker.counters.schedules_missed == 0

    def test_many_messages_of_a_few_leave_turns_to_other_work(self, world: World) -> None:
        for number in range(5):
            world.put(f"s{number}", missed="all")
        world.clock.ms += 600 * MINUTE_MS
        turns = 1
        while world.broker.schedules.fire_due() == 0:
            turns += 1
        assert len(world.messages()) == 5 * 600
        assert turns == 3

    def test_what_a_full_disk_has_kept_for_long_is_missed(self, world: World) -> None:
        world.put("s", missed="skip")
        world.clock.ms += MINUTE_MS
        world.log.room_bytes = 0
        for _ in range(10):
            with pytest.raises(DiskFullError):
                world.broker.schedules.fire_due()
            world.clock.ms += MINUTE_MS
        world.log.room_bytes = 1 << 40
        world.fire()
        assert len(world.messages()) <= 2

    def test_compaction_keeps_it_and_it_goes_on(self, tmp_path: Path) -> None:
        world = World()

        def opened() -> tuple[FileLog, Broker]:
            log = FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=4096)
            return log, Broker(log, clock=world.clock)

        log, world.broker = opened()
        world.put(cron="* * * * * *", missed="all", body="x" * 100)
        log.rotate()
        log.sync()
        send_with = world.broker.schedules._producer.send_with

        def compact_first(*args: Any) -> bool:
            world.broker.schedules._producer.send_with = send_with  # type: ignore[method-assign]
            assert compact_oldest(world.broker, log)
            return send_with(*args)

        world.broker.schedules._producer.send_with = compact_first  # type: ignore[method-assign, assignment]
        world.fire(5000)
        assert world.times() == [START_MS + 1000 * n for n in range(1, 6)]
        world.broker.close()
        log, world.broker = opened()
        world.fire(2000)
        assert world.times() == [START_MS + 1000 * n for n in range(1, 8)]
        world.broker.close()

    def test_a_snapshot_has_schedules_too(self, world: World) -> None:
        world.put(attributes={"a": ("Binary", b"\0")})
        state = world.broker.core.state
        again = State.load(state.freeze().chunks(0))
        assert contents_of(again, START_MS) == contents_of(state, START_MS) | {
            "notes": {
                "schedule": {
                    "often": {**state.metadata["schedule"]["often"].value, "attributes": {"a": ["Binary", b"\0"]}}
                }
            }
        }


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"cron": "x"}, "cron"),
            ({"cron": "0 0 30 2 *"}, "cron"),
            ({"cron": "0 0 LW * */7"}, "cron"),  # the last weekday of a month that is a Sunday
            ({"timezone": "Mars"}, "timezone"),
            ({"queue": "a b"}, "queue"),
            ({"missed": "twice"}, "missed"),
            ({"delay_ms": -1}, "delay"),
            ({"priority": 10}, "priority"),
            ({"priority": 1, "queue": "x.fifo"}, "priority"),
            ({"attributes": {"a b": ("String", "x")}}, "attributes"),
            ({"attributes": {f"a{n}": ("String", "x") for n in range(63)}}, "attributes"),
            ({"body": "\ud800"}, "message"),
            ({"body": "x" * MAX_MESSAGE_BYTES}, "message"),
        ],
    )
    def test_what_cannot_be(self, world: World, fields: Mapping[str, Any], field: str) -> None:
        with pytest.raises(InvalidValueError) as caught:
            world.put(**fields)
        assert caught.value.field == field
        assert world.broker.schedules.list() == []
        world.put()
        before = world.broker.schedules.get("often")
        with pytest.raises(InvalidValueError):
            world.broker.schedules.put("often", **fields)
        assert world.broker.schedules.get("often") == before

    def test_a_new_one_needs_all_that_makes_one(self, world: World) -> None:
        given = {"cron": "* * * * *", "queue": "jobs", "body": "go"}
        for field in given:
            with pytest.raises(InvalidValueError) as caught:
                world.broker.schedules.put("often", **{name: value for name, value in given.items() if name != field})
            assert caught.value.field == field

    @pytest.mark.parametrize("name", ["", "a b", "x" * 81, "a/b"])
    def test_a_name_that_none_has(self, world: World, name: str) -> None:
        with pytest.raises(InvalidValueError):
            world.put(name)

    def test_a_queue_that_none_can_be(self, world: World) -> None:
        with pytest.raises(InvalidQueueNameError):
            world.put(queue="")

    def test_one_too_many(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
        world.put("a")
        world.put("b")
        with pytest.raises(TooManySchedulesError):
            world.put("c")
        world.put("a", body="changed")


class TestLists:
    def names(self, world: World, **options: Any) -> list[str]:
        return [each.name for each in world.broker.schedules.list(**options)]

    def test_pages_by_name(self, world: World) -> None:
        for name in ("d", "b", "a", "c"):
            world.put(name)
        assert self.names(world) == ["a", "b", "c", "d"]
        assert self.names(world, limit=2) == ["a", "b"]
        assert self.names(world, after="b", limit=2) == ["c", "d"]
        assert self.names(world, after="d") == []

    def test_a_page_has_only_what_is_wanted_and_permitted(self, world: World) -> None:
        for name, queue in (("a-1", "mine"), ("a-2", "yours"), ("b-1", "mine"), ("a-3", "mine")):
            world.put(name, queue=queue)
        assert self.names(world, contains="a-") == ["a-1", "a-2", "a-3"]
        assert self.names(world, permits=lambda queue: queue == "mine", contains="a-", limit=2) == ["a-1", "a-3"]


@settings(max_examples=100, deadline=None)
@given(
    missed=st.sampled_from(["skip", "once", "all"]),
    cron=st.sampled_from(["* * * * *", "*/20 * * * * *", "0,10 * * * *"]),
    steps=st.lists(st.tuples(st.sampled_from(["fire", "restart", "full"]), st.integers(0, 400_000)), max_size=25),
)
def test_no_time_has_two_messages_and_each_that_was_not_missed_has_one(
    missed: str, cron: str, steps: list[tuple[str, int]]
) -> None:
    world = World()
    world.put(cron=cron, missed=missed)
    for step, wait_ms in steps:
        world.clock.ms += wait_ms
        if step == "restart":
            world.restart()
        elif step == "full":
            world.log.room_bytes = 0
            with suppress(DiskFullError):
                world.fire()
            world.log.room_bytes = 1 << 40
        else:
            world.fire()
    world.fire()
    times = world.times()
    assert times == sorted(set(times))
    due = []
    for time_ms in times_after(cron, "UTC", START_MS):
        if time_ms > world.clock.ms:
            break
        due.append(time_ms)
    assert set(times) <= set(due)
    if missed == "all":
        assert times == due
    assert all(time_ms in times for time_ms in due if time_ms >= world.clock.ms - ON_TIME_MS)
