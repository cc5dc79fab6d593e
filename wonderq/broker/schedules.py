"""Schedules: messages that the broker produces at the times of a cron expression.

A schedule is a METADATA record, which also holds its next due time. The broker appends that record together with the
messages of each due time, so a crash neither loses nor repeats a message. Housekeeping (`wonderq.broker.housekeeping`)
fires the schedules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice, takewhile
from math import inf
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self, get_args

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES, Core
from wonderq.broker.cron import times_after, words_of
from wonderq.broker.produce import Producer
from wonderq.model.attributes import Attribute
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    NotPermittedError,
    ScheduleNotFoundError,
    TooManySchedulesError,
)
from wonderq.model.messages import NewMessage, size_of
from wonderq.model.permits import Permits, everything
from wonderq.model.queue_names import check_queue_name
from wonderq.model.settings import FIFO_SUFFIX
from wonderq.runtime.fibers import in_turns
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import MetadataEntry, State

#: Namespace of the METADATA records of schedules. Their name is the schedule's name.
NAMESPACE = "schedule"

#: Schedules are kept in memory together with their messages.
MAX_SCHEDULES = 10_000
MAX_MESSAGE_BYTES = 16 << 10

#: Longest delay of a message after its due time. After that, the due time counts as missed.
ON_TIME_MS = 60_000

#: Most missed due times to catch up on, or to count. These are the oldest.
MAX_MISSED = 1000

#: Size of the record of a schedule, without its message.
_FIELDS_BYTES = 300

#: Schedules that a listing passes over, and that it reads, before other requests have their turn.
_STORED_PER_TURN, _READ_PER_TURN = 1000, 100

#: Schedules that fire before others have the lock for a moment.
_FIRED_PER_TURN = 20

#: Schedules that fire, and messages that they produce, before other work in the background has its turn.
_FIRED_AT_ONCE = 100
_PRODUCED_AT_ONCE = 1000

#: Size of a portion: the broker's lock is held while one is produced, and the log is synced after about so many bytes.
_PORTION_MESSAGES = 100
_PORTION_BYTES = 256 << 10

Missed = Literal["skip", "once", "all"]
MISSED: tuple[Missed, ...] = get_args(Missed)

_NEVER = "This cron expression has no due time in the next 50 years."

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class Schedule:
    """A schedule and its progress."""

    name: str
    cron: str
    queue: str
    body: str
    """Body of the messages. It and ``attributes`` to ``delay_ms`` are fields of `NewMessage`."""
    timezone: str = "UTC"
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    group: str = ""
    priority: int = 0
    delay_ms: int | None = None
    missed: Missed = "skip"
    """Messages for the due times that pass while the broker is down: none, one for all of them, or one for each."""
    paused: bool = False
    created_ms: int = 0
    next_ms: int | None = None
    """Next due time, or None if the schedule is paused or has no more due times."""
    last_ms: int | None = None
    """Last due time that has a message."""
    failure: str | None = None
    """Reason why the due time after ``last_ms`` has no message."""

    def to_record(self) -> dict[str, Any]:
        """Return the value of the schedule's METADATA record."""
        value = asdict(self)
        del value["name"]
        return value

    @classmethod
    def from_record(cls, name: str, value: Mapping[str, Any]) -> Self:
        """Return the schedule of a METADATA record."""
        attributes = {key: (kind, text) for key, (kind, text) in value["attributes"].items()}
        return cls(name, **{**value, "attributes": attributes})

    def message_for(self, time_ms: int) -> NewMessage:
        """Return the message of a due time.

        The attributes ``schedule`` and ``scheduled_at`` name the schedule and the due time, unless the schedule sets
        its own.
        """
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
    """Work of a schedule whose next due time has passed."""

    times_ms: Sequence[int]
    """Due times to produce a message for."""
    next_ms: int | None
    """Next due time after the work."""
    missed: int
    """Number of missed due times to skip."""


class Schedules:
    """All schedules of a broker. You may call methods from any thread, but `fire_due` from one thread only."""

    def __init__(self, core: Core, producer: Producer) -> None:
        self._core = core
        self._producer = producer
        self._due_ms: float = 0
        """Time in ms before which no schedule is due. Changed under the broker's lock."""
        self._unsynced_bytes = 0
        """Bytes that `fire_due` has appended and not waited for."""
        self._behind_ms: int | None = None
        """Time of the first of the last calls of `fire_due` that left others due; None if the last one left none."""

    def put(self, name: str, permits: Permits = everything, /, **given: Any) -> tuple[Schedule, bool]:
        """Create a schedule, or change the given fields of one; return it and whether it is new.

        The fields are those of `Schedule` from ``cron`` to ``paused``. A new schedule needs ``cron``, ``queue`` and
        ``body``. A schedule that is resumed, or gets another expression or time zone, continues with the next due time
        from now: due times that it missed before are skipped. A schedule of a queue that is not permitted is treated
        like one that does not exist, until it would be changed.

        Raises:
            NotPermittedError: the client may not use the queue, or the queue of the schedule that has this name.
            DifferentShardsError: the queue is in another shard, and nothing crosses.
            InvalidValueError, InvalidQueueNameError: a value is out of range, malformed or missing.
            TooManySchedulesError: the broker has as many schedules as it may have.
        """
        if not _NAME.fullmatch(name):
            raise InvalidValueError(
                "name", "A schedule's name must have 1 to 80 of the characters A-Z a-z 0-9 _ and -."
            )
        if "queue" in given and not permits(given["queue"]):
            raise NotPermittedError(f"for the queue {given['queue'][:80]}")
        if "queue" in given:
            check_queue_name(given["queue"], "queue")
            self._core.check_reach(given["queue"])
        while True:
            with self._core.locked() as (state, _, now_ms):
                before = _metadata(state, name)
            is_permitted = before is None or permits(before.value["queue"])
            after = self._changed(name, before if is_permitted else None, given, now_ms)
            with self._core.durable_transaction() as (state, append_and_apply, now_ms):
                if _metadata(state, name) is not before:
                    continue  # the schedule has fired or was changed meanwhile
                if not is_permitted:
                    raise NotPermittedError("for the queue of the schedule that has this name; or choose another name")
                if before is None and len(state.metadata.get(NAMESPACE, ())) >= MAX_SCHEDULES:
                    raise TooManySchedulesError(MAX_SCHEDULES)
                if before is None or Schedule.from_record(name, before.value) != after:
                    append_and_apply(_record(after, now_ms), leave=PRODUCE_LEAVES)
                    self._core.target_changes += before is None or before.value["queue"] != after.queue
                    self._due_ms = 0
            return after, before is None

    def _changed(self, name: str, before: MetadataEntry | None, given: Mapping[str, Any], now_ms: int) -> Schedule:
        """Return the schedule after a `put`. ``before`` is its record, or None if it is new."""
        if before is None:
            missing = [field for field in ("cron", "queue", "body") if field not in given]
            if missing:
                raise InvalidValueError(missing[0], "A new schedule needs a cron expression, a queue and a message.")
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
                raise InvalidValueError("cron", _NEVER)
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

    def get(self, name: str, *, permits: Permits = everything) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: no schedule has this name, or the client may not use its queue.
        """
        with self._core.durable_transaction() as (state, _, _):
            return _find(state, name, permits)

    def list(
        self, permits: Permits = everything, *, contains: str = "", after: str = "", limit: int | None = None
    ) -> Sequence[Schedule]:
        """Return the schedules of permitted queues, by name: at most ``limit``, and only those after ``after``.

        ``contains`` chooses those whose name has this text in it. Other requests have their turn meanwhile.
        """
        with self._core.durable_transaction() as (state, _, _):
            stored = list(state.metadata.get(NAMESPACE, {}).items())
        found = sorted([each for each in stored if each[0] > after and contains in each[0]], key=itemgetter(0))
        theirs = (each for each in in_turns(found, _STORED_PER_TURN) if permits(each[1].value["queue"]))
        read = (Schedule.from_record(name, each.value) for name, each in islice(theirs, limit))
        return list(in_turns(read, _READ_PER_TURN))

    def next_times(self, cron: str, timezone: str, limit: int) -> tuple[str, Sequence[int]]:
        """Return an expression in words, and its next due times in ms, at most ``limit``; nothing is scheduled.

        Raises:
            InvalidValueError: the expression or the time zone is malformed, or no due time follows within 50 years.
        """
        times = times_after(cron, timezone, self._core.clock.now_ms())
        found = list(in_turns(islice(times, limit), 1))
        if not found:
            raise InvalidValueError("cron", _NEVER)
        return words_of(cron), found

    @property
    def count(self) -> int:
        """Number of schedules."""
        return len(self._core.state.metadata.get(NAMESPACE, ()))

    def delete(self, name: str, *, permits: Permits = everything) -> None:
        """Delete a schedule. Messages that it has produced stay.

        Raises:
            ScheduleNotFoundError: no schedule has this name, or the client may not use its queue.
        """
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            _find(state, name, permits)
            append_and_apply(record.Metadata(record.METADATA, now_ms, NAMESPACE, name, None), leave=DELETE_LEAVES)

    def fire_due(self, rest: Callable[[], bool] = lambda: False) -> float:
        """Produce the messages of due times that have passed, oldest first; return the seconds until the next is due.

        One call produces a portion, and returns 0 if that leaves others. Those are late because the broker is busy, so
        they do not count as missed, however long it takes.
        ``rest`` is called now and then, without the lock. It lets others have the lock, and returns whether to stop.
        """
        with self._core.locked() as (state, _, now_ms):
            if now_ms < self._due_ms:
                return (self._due_ms - now_ms) / 1000
            stored = list(state.metadata.get(NAMESPACE, {}).items())
        behind_ms, self._behind_ms = now_ms if self._behind_ms is None else self._behind_ms, None
        due = [(name, each.value) for name, each in stored if _due_ms(each) <= now_ms]
        due.sort(key=lambda each: each[1]["next_ms"])
        fired = self._core.counters.schedules_fired
        for at, (name, value) in enumerate(due[:_FIRED_AT_ONCE], 1):
            self._fire(Schedule.from_record(name, value), value, now_ms, behind_ms - ON_TIME_MS)
            if self._core.counters.schedules_fired - fired >= _PRODUCED_AT_ONCE:
                break
            if not at % _FIRED_PER_TURN and rest():
                break
        self._sync()
        with self._core.locked() as (state, _, now_ms):
            self._due_ms = min(map(_due_ms, state.metadata.get(NAMESPACE, {}).values()), default=inf)
            if self._due_ms <= now_ms:
                self._behind_ms = behind_ms
            return max(self._due_ms - now_ms, 0) / 1000

    def _sync(self) -> None:
        """Wait until all that `fire_due` has appended is durable. Schedules that are due together share a sync."""
        self._unsynced_bytes = 0
        self._core.wait_until_durable()

    def _appended(self, size: int) -> None:
        self._unsynced_bytes += size
        if self._unsynced_bytes >= _PORTION_BYTES:
            self._sync()

    def _fire(self, schedule: Schedule, value: Mapping[str, Any], now_ms: int, on_time_ms: int) -> None:
        """Do the due work of a schedule, unless its record changes meanwhile.

        ``value`` is the record's value. Due times before ``on_time_ms`` are missed.
        """
        try:
            plan = _plan(schedule, now_ms, on_time_ms)
        except InvalidValueError as error:  # the system does not know the time zone any more
            self._update(replace(schedule, next_ms=None, failure=str(error)), value)
            return
        if not plan.times_ms:
            self._update(replace(schedule, next_ms=plan.next_ms), value)
        refused = self._produce(schedule, value, plan)
        if refused is not None:
            self._core.counters.schedules_missed += plan.missed + refused

    def _produce(self, schedule: Schedule, value: Mapping[str, Any], plan: _Plan) -> int | None:
        """Produce the messages of a plan in portions, up to the first that is refused.

        Return the number of due times without a message because of the refusal, or None if the schedule changed
        meanwhile.
        """
        message = schedule.message_for(0)
        size = size_of(message.body, message.attributes)
        most = max(min(_PORTION_BYTES // size, _PORTION_MESSAGES), 1)
        left_ms = plan.times_ms
        while left_ms:
            portion_ms, left_ms = left_ms[:most], left_ms[most:]
            next_ms = left_ms[0] if left_ms else plan.next_ms
            after = replace(schedule, last_ms=portion_ms[-1], next_ms=next_ms, failure=None).to_record()
            try:
                if not self._produce_portion(schedule, portion_ms, value, after):
                    return None
            except BrokerError as error:
                before = Schedule.from_record(schedule.name, value)
                self._update(replace(before, next_ms=plan.next_ms, failure=str(error)), value)
                return len(portion_ms) + len(left_ms)
            self._appended(size * len(portion_ms) + _record_bytes(schedule))
            value = after
            self._core.counters.schedules_fired += len(portion_ms)
        return 0

    def _produce_portion(
        self, schedule: Schedule, times_ms: Sequence[int], value: Mapping[str, Any], after: Mapping[str, Any]
    ) -> bool:
        """Produce the messages of due times, and change the record's value from ``value`` to ``after`` in one step.

        Return False if the record has another value; nothing was produced then.
        """

        def progress(state: State, now_ms: int) -> Sequence[Record] | None:
            if not _has_value(state, schedule.name, value):
                return None
            return [record.Metadata(record.METADATA, now_ms, NAMESPACE, schedule.name, after)]

        messages = [schedule.message_for(time_ms) for time_ms in times_ms]
        return self._producer.send_with(schedule.queue, messages, progress)

    def _update(self, schedule: Schedule, value: Mapping[str, Any]) -> None:
        """Change the record of a schedule, unless it has another value than ``value``."""
        core = self._core
        with core.transaction as now_ms:
            if _has_value(core.state, schedule.name, value):
                core.append_and_apply(_record(schedule, now_ms), leave=PRODUCE_LEAVES)
        self._appended(_record_bytes(schedule))


def _plan(schedule: Schedule, now_ms: int, on_time_ms: int) -> _Plan:
    """Return the due work of a schedule whose next due time has passed. Due times before ``on_time_ms`` are missed.

    Raises:
        InvalidValueError: the system does not know the schedule's time zone.
    """
    assert schedule.next_ms is not None
    first_ms = schedule.next_ms
    late: list[int] = []
    if first_ms < on_time_ms:
        times = chain((first_ms,), times_after(schedule.cron, schedule.timezone, first_ms))
        late = list(islice(takewhile(lambda time_ms: time_ms < on_time_ms, times), MAX_MISSED))
    caught_up = {"skip": late[:0], "once": late[-1:], "all": late}[schedule.missed]
    due = [*caught_up]
    next_ms = None
    for time_ms in times_after(schedule.cron, schedule.timezone, max(first_ms, on_time_ms) - 1):
        if time_ms > now_ms:
            next_ms = time_ms
            break
        due.append(time_ms)
    return _Plan(due, next_ms, len(late) - len(caught_up))


def _record(schedule: Schedule, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, schedule.name, schedule.to_record())


def _record_bytes(schedule: Schedule) -> int:
    """Return about how large the record of a schedule is."""
    return _FIELDS_BYTES + size_of(schedule.body, schedule.attributes)


def _metadata(state: State, name: str) -> MetadataEntry | None:
    return state.metadata.get(NAMESPACE, {}).get(name)


def _has_value(state: State, name: str, value: Mapping[str, Any]) -> bool:
    """Return whether a schedule's record still has this very value. Compaction keeps it when it rewrites the record."""
    stored = _metadata(state, name)
    return stored is not None and stored.value is value


def _due_ms(stored: MetadataEntry) -> float:
    due_ms: int | None = stored.value["next_ms"]
    return inf if due_ms is None else due_ms


def _find(state: State, name: str, permits: Permits) -> Schedule:
    stored = _metadata(state, name)
    if stored is None or not permits(stored.value["queue"]):
        raise ScheduleNotFoundError(name)
    return Schedule.from_record(name, stored.value)
