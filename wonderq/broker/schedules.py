"""Schedules: messages that are produced again and again, when a cron expression says.

A schedule is a METADATA record, and so is when it is due next. That is written together with the message of each time, so each
time has its message once, also if the broker is killed in between. The keeper (`wonderq.broker.housekeeping`) drives it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice, takewhile
from math import inf
from typing import Any, Literal, NamedTuple, Self, get_args

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES, Core
from wonderq.broker.cron import times_after
from wonderq.broker.produce import Producer
from wonderq.model.attributes import Attribute
from wonderq.model.errors import BrokerError, InvalidValueError, ScheduleNotFoundError, TooManySchedulesError
from wonderq.model.messages import NewMessage, size_of
from wonderq.model.queue_names import check_queue_name
from wonderq.model.settings import FIFO_SUFFIX
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import MetadataEntry, State

#: The space of notes that has schedules, by name.
NAMESPACE = "schedule"

#: Schedules stay in memory with their messages.
MAX_SCHEDULES = 1000
MAX_MESSAGE_BYTES = 16 << 10

#: A message may come so much later than its time. After that the time counts as missed.
ON_TIME_MS = 60_000

#: So many missed times are made up for at most, the oldest; and so many are counted.
MAX_MISSED = 1000

#: How many messages are produced while the broker's lock is held.
_PORTION_MESSAGES = 100
_PORTION_BYTES = 256 << 10

Missed = Literal["skip", "once", "all"]
MISSED: tuple[Missed, ...] = get_args(Missed)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class Schedule:
    """One schedule."""

    name: str
    cron: str
    queue: str
    body: str
    """Of the messages, as are ``attributes`` to ``delay_ms``: see `NewMessage`."""
    timezone: str = "UTC"
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    group: str = ""
    priority: int = 0
    delay_ms: int | None = None
    missed: Missed = "skip"
    """What becomes of times at which nothing could be produced, as the broker was down: nothing, one message for all of
    them, or one for each."""
    paused: bool = False
    created_ms: int = 0
    next_ms: int | None = None
    """When it is due next; None if it is paused, or never."""
    last_ms: int | None = None
    """The last time for which there is a message."""
    failure: str | None = None
    """Why there is none for the time after that."""

    def to_record(self) -> dict[str, Any]:
        value = asdict(self)
        del value["name"]
        return value

    @classmethod
    def from_record(cls, name: str, value: Mapping[str, Any]) -> Self:
        attributes = {key: (kind, text) for key, (kind, text) in value["attributes"].items()}
        return cls(name, **{**value, "attributes": attributes})

    def message_for(self, time_ms: int) -> NewMessage:
        """Return the message of one time. Two attributes say what it is of, unless the schedule has such itself."""
        at = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        own = {"schedule": ("String", self.name), "scheduled_at": ("String", at)}
        return NewMessage(
            self.body,
            delay_ms=self.delay_ms,
            attributes={**own, **self.attributes},
            group=self.group,
            priority=self.priority,
        )


class _Plan(NamedTuple):
    """What a schedule is to do now."""

    times_ms: Sequence[int]
    """For which a message is due."""
    next_ms: int | None
    """When it goes on after that."""
    missed: int
    """For how many times there is to be none."""


class Schedules:
    """All schedules of a broker. Methods may be called from any thread, but `fire_due` by one alone."""

    def __init__(self, core: Core, producer: Producer) -> None:
        self._core = core
        self._producer = producer
        self._due_ms: float = 0
        """When one is due first, or earlier. Changed under the broker's lock."""

    def put(self, name: str, **given: Any) -> tuple[Schedule, bool]:
        """Create a schedule, or change the given fields of one: `Schedule`'s up to ``paused``; returns it and whether it is new.

        A new one needs ``cron``, ``queue`` and ``body``. One that is paused, or gets another expression or time zone, goes on
        with the next time from now; what was missed meanwhile is not made up for.

        Raises:
            InvalidValueError: something is out of range or malformed, or a new one lacks something.
            TooManySchedulesError: there are as many as there may be.
        """
        if not _NAME.fullmatch(name):
            raise InvalidValueError("name", "A schedule's name is 1 to 80 of A-Z a-z 0-9 _ and -.")
        while True:
            with self._core.locked() as (state, _, now_ms):
                before = _stored(state, name)
            after = self._changed(name, before, given, now_ms)
            with self._core.durable_transaction() as (state, append_and_apply, now_ms):
                if _stored(state, name) is not before:
                    continue  # it has fired, or was changed, meanwhile
                if before is None and len(state.metadata.get(NAMESPACE, ())) >= MAX_SCHEDULES:
                    raise TooManySchedulesError(MAX_SCHEDULES)
                if before is None or Schedule.from_record(name, before.value) != after:
                    append_and_apply(_record(after, now_ms), leave=PRODUCE_LEAVES)
                    self._due_ms = 0
            return after, before is None

    def _changed(self, name: str, before: MetadataEntry | None, given: Mapping[str, Any], now_ms: int) -> Schedule:
        if before is None:
            lacking = [field for field in ("cron", "queue", "body") if field not in given]
            if lacking:
                raise InvalidValueError(lacking[0], "A new schedule needs a cron expression, a queue and a message.")
            schedule = Schedule(name, **given, created_ms=now_ms)
        else:
            schedule = replace(Schedule.from_record(name, before.value), **given)
        self._check(schedule)
        times = times_after(schedule.cron, schedule.timezone, now_ms)
        if schedule.paused:
            return replace(schedule, next_ms=None)
        if before is None or schedule.next_ms is None or not given.keys().isdisjoint(("cron", "timezone")):
            schedule = replace(schedule, next_ms=next(times, None), failure=None)
            if schedule.next_ms is None:
                raise InvalidValueError("cron", "This cron expression is not due in the next 50 years.")
        return schedule

    def _check(self, schedule: Schedule) -> None:
        check_queue_name(schedule.queue, "queue")
        if schedule.missed not in MISSED:
            raise InvalidValueError("missed", f"missed must be one of {', '.join(MISSED)}.")
        if schedule.delay_ms is not None:
            self._core.limits.check_range("delay", schedule.delay_ms)
        message = schedule.message_for(0)
        message.check(is_fifo=schedule.queue.endswith(FIFO_SUFFIX))
        self._core.admission.encode([message.body], [message.headers()])
        size = size_of(message.body, message.attributes)
        if size > MAX_MESSAGE_BYTES:
            raise InvalidValueError(
                "message", f"The message of a schedule may have {MAX_MESSAGE_BYTES} bytes, and this has {size}."
            )

    def get(self, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: there is none with this name.
        """
        with self._core.durable_transaction() as (state, _, _):
            return _find(state, name)

    def list(self) -> Sequence[Schedule]:
        """Return all schedules, by name."""
        with self._core.durable_transaction() as (state, _, _):
            notes = state.metadata.get(NAMESPACE, {})
            return [Schedule.from_record(name, notes[name].value) for name in sorted(notes)]

    def delete(self, name: str) -> None:
        """Delete a schedule. Its messages stay."""
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            _find(state, name)
            append_and_apply(record.Metadata(record.METADATA, now_ms, NAMESPACE, name, None), leave=DELETE_LEAVES)

    def fire_due(self) -> float:
        """Produce the messages of all times that have come; returns after how many seconds there is more to do."""
        with self._core.locked() as (state, _, now_ms):
            if now_ms < self._due_ms:
                return (self._due_ms - now_ms) / 1000
            notes = state.metadata.get(NAMESPACE, {})
            due = [(name, note) for name, note in notes.items() if _due_ms(note) <= now_ms]
        for name, note in due:
            self._fire(Schedule.from_record(name, note.value), note.value, now_ms)
        with self._core.locked() as (state, _, now_ms):
            self._due_ms = min(map(_due_ms, state.metadata.get(NAMESPACE, {}).values()), default=inf)
            return max(self._due_ms - now_ms, 0) / 1000

    def _fire(self, schedule: Schedule, noted: Mapping[str, Any], now_ms: int) -> None:
        """Do what is due of a schedule, as long as it stands as ``noted``."""
        counters = self._core.counters
        try:
            plan = _plan(schedule, now_ms)
        except InvalidValueError as error:  # its time zone is not known any more
            self._store(replace(schedule, next_ms=None, failure=str(error)), noted)
            return
        missed = plan.missed
        times_ms = plan.times_ms
        portion = max(min(_PORTION_BYTES // size_of(schedule.body, schedule.attributes), _PORTION_MESSAGES), 1)
        while times_ms:
            these, times_ms = times_ms[:portion], times_ms[portion:]
            next_ms = times_ms[0] if times_ms else plan.next_ms
            schedule = replace(schedule, last_ms=these[-1], next_ms=next_ms, failure=None)
            after = schedule.to_record()
            try:
                if not self._produce(schedule, these, noted, after):
                    return
            except BrokerError as error:
                missed += len(these) + len(times_ms)
                schedule = replace(Schedule.from_record(schedule.name, noted), next_ms=plan.next_ms, failure=str(error))
                self._store(schedule, noted)
                break
            noted = after
            counters.schedules_fired += len(these)
        else:
            if not plan.times_ms:
                self._store(replace(schedule, next_ms=plan.next_ms), noted)
        counters.schedules_missed += missed

    def _produce(
        self, schedule: Schedule, times_ms: Sequence[int], noted: Mapping[str, Any], after: Mapping[str, Any]
    ) -> bool:
        """Produce the messages of some times and say how the schedule is after that, at once; returns whether that was done."""

        def also(state: State, now_ms: int) -> Sequence[Record] | None:
            note = _stored(state, schedule.name)
            if note is None or note.value is not noted:
                return None
            return [record.Metadata(record.METADATA, now_ms, NAMESPACE, schedule.name, after)]

        messages = [schedule.message_for(time_ms) for time_ms in times_ms]
        return self._producer.send_with(schedule.queue, messages, also)

    def _store(self, schedule: Schedule, noted: Mapping[str, Any]) -> None:
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            note = _stored(state, schedule.name)
            if note is not None and note.value is noted:
                append_and_apply(_record(schedule, now_ms), leave=PRODUCE_LEAVES)


def _plan(schedule: Schedule, now_ms: int) -> _Plan:
    """Return what is due of a schedule whose next time has come."""
    assert schedule.next_ms is not None
    first_ms, on_time_ms = schedule.next_ms, now_ms - ON_TIME_MS
    late: list[int] = []
    if first_ms < on_time_ms:
        times = chain((first_ms,), times_after(schedule.cron, schedule.timezone, first_ms))
        late = list(islice(takewhile(lambda time_ms: time_ms < on_time_ms, times), MAX_MISSED))
    made_up = {"skip": late[:0], "once": late[-1:], "all": late}[schedule.missed]
    due = [*made_up]
    next_ms = None
    for time_ms in times_after(schedule.cron, schedule.timezone, max(first_ms, on_time_ms) - 1):
        if time_ms > now_ms:
            next_ms = time_ms
            break
        due.append(time_ms)
    return _Plan(due, next_ms, len(late) - len(made_up))


def _record(schedule: Schedule, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, schedule.name, schedule.to_record())


def _stored(state: State, name: str) -> MetadataEntry | None:
    return state.metadata.get(NAMESPACE, {}).get(name)


def _due_ms(note: MetadataEntry) -> float:
    due_ms: int | None = note.value["next_ms"]
    return inf if due_ms is None else due_ms


def _find(state: State, name: str) -> Schedule:
    note = _stored(state, name)
    if note is None:
        raise ScheduleNotFoundError(name)
    return Schedule.from_record(name, note.value)
