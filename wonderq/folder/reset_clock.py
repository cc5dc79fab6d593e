"""`wonderq folder reset-clock`: take times of the future out of a stopped broker's log.

A broker's clock never starts below the newest time in its log. So a log that was written while the system's clock was
ahead keeps the broker ahead. This tool rewrites the log with the code of compaction (`wonderq.broker.compaction`), and
replaces each time of the future on the way. So a crash at any moment is as harmless as there, and no message is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.core import Locked
from wonderq.broker.cron import times_after
from wonderq.broker.schedules import NAMESPACE as SCHEDULES
from wonderq.folder.lock import locked
from wonderq.folder.replay import explain_unreadable
from wonderq.model.errors import InvalidValueError
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.model.status import CLAIMED, DELAYED
from wonderq.runtime.clock import Clock
from wonderq.state import record
from wonderq.state.record import MessageState, Record
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq_storage import FileCheckpoints, FileLog, Position


@dataclass(frozen=True)
class Reset:
    """Result of a reset."""

    newest_ms: int
    """Newest time in the log before the reset, in ms since 1970."""
    now_ms: int
    """Time of the system's clock."""
    messages: int

    @property
    def ahead_ms(self) -> int:
        """Time by which the log was ahead of the system's clock; 0 or less if there was nothing to do."""
        return self.newest_ms - self.now_ms


def examine(folder: Path) -> Reset:
    """Compare the newest time of a log with the system's clock. Nothing is changed.

    Raises: as `reset_clock`.
    """
    with locked(folder):
        pass  # the folder has a log, and no broker uses it
    with explain_unreadable(folder):
        log = FileLog(folder)
        try:
            state, _ = replay_log(log, FileCheckpoints(folder))
        finally:
            log.close()
    return Reset(state.last_ms, Clock().now_ms(), state.messages)


def reset_clock(folder: Path, progress: Callable[[], None] = lambda: None) -> Reset:
    """Rewrite a log without times of the future, if it has any. ``progress`` is called after each segment.

    Raises:
        NoLogError: the folder contains no log.
        FolderLockedError: a broker is running on it.
        DiskFullError: there is no room for the copies. Segments not yet rewritten are unchanged.
        CorruptLogError: the log is damaged. Nothing was lost.
        UnsupportedFormatError, UnusableLogError: the log cannot be opened. Nothing was changed.
    """
    found = examine(folder)
    if found.ahead_ms <= 0:
        return found
    log = FileLog(folder)
    try:
        checkpoints = FileCheckpoints(folder)
        broker = _ResettingBroker(log, checkpoints, found.ahead_ms)
        end = log.rotate()
        log.sync()
        while (oldest := log.oldest()) and oldest[0] <= end:
            compact_oldest(broker, log)
            progress()
        checkpoints.remove_before(end)
    finally:
        log.close()
    return found


class _SystemClock(Clock):
    """The system's clock, also where the log is ahead of it."""

    def raise_floor(self, floor_ms: int) -> None:
        pass


class _ResettingBroker(Broker):
    """A broker that compaction can work on, and whose records have no times of the future."""

    def __init__(self, log: FileLog, checkpoints: FileCheckpoints, ahead_ms: int) -> None:
        super().__init__(log, checkpoints=checkpoints, clock=_SystemClock())
        self._ahead_ms = ahead_ms
        self.locked = self._locked

    @contextmanager
    def _locked(self) -> Iterator[Locked]:
        with self.core.locked() as (state, append_and_apply, now_ms):

            def append(*records: Record, leave: int | None = None) -> Position:
                return append_and_apply(*(self._reset(state, each) for each in records), leave=leave)

            yield Locked(state, append, now_ms)

    def _reset(self, state: State, each: Record) -> Record:
        """Return a record of compaction without times of the future."""
        match each:
            case record.Update():
                produced_ms, claims = self._reset_messages(each.runs, each.produced_ms, each.claims, each.at_ms)
                return each._replace(produced_ms=produced_ms, claims=claims)
            case record.DefineQueue() | record.DefineTopic():
                return each._replace(created_ms=min(each.created_ms, each.at_ms))
            case record.Dedup() | record.Publish():
                holder = state.find(each.queue) if isinstance(each, record.Dedup) else state.find_topic(each.topic)
                window_ms = holder.settings.deduplication_window_ms if holder else DEDUPLICATION_WINDOW_MS
                return each._replace(rows=[self._reset_key(row, each.at_ms, window_ms) for row in each.rows])
            case record.Restate():
                return each._replace(parts=[self._reset_part(part, each.at_ms) for part in each.parts])
            case record.Subscribe() if each.value is not None:
                created_ms = min(each.value["created_ms"], each.at_ms)
                return each._replace(value={**each.value, "created_ms": created_ms})
            case record.Metadata() if each.value is not None:
                return each._replace(value=_reset_metadata(each.namespace, each.value, each.at_ms))
        return each

    def _reset_part(self, part: record.Part, now_ms: int) -> record.Part:
        produced_ms, claims = self._reset_messages(part.runs, part.produced_ms, part.claims, now_ms)
        return part._replace(produced_ms=produced_ms, claims=claims)

    def _reset_messages(
        self, runs: Sequence[int], produced_ms: Sequence[int], claims: Sequence[Sequence[Any]], now_ms: int
    ) -> tuple[list[int], list[MessageState]]:
        """Return the times and the states of rewritten messages without times of the future."""
        produced = dict(zip(record.from_runs(runs), produced_ms, strict=True))
        states = [self._reset_message(MessageState(*claim), produced[claim[0]], now_ms) for claim in claims]
        return [min(ms, now_ms) for ms in produced_ms], states

    def _reset_message(self, state: MessageState, produced_ms: int, now_ms: int) -> MessageState:
        """Return the state of a message; a deadline that was set under the wrong clock keeps its distance from it."""
        due_ms = state.due_ms
        if state.status == CLAIMED:
            is_wrong = due_ms - state.timeout_ms > now_ms
        else:  # the time at which a delay began is not known: later than the produce, if the message has changed since
            changed = state.receives > 0 or state.version > 1
            is_wrong = state.status == DELAYED and (produced_ms > now_ms or changed)
        if is_wrong:
            due_ms = max(due_ms - self._ahead_ms, min(due_ms, now_ms))
        return state._replace(due_ms=due_ms, first_claimed_ms=min(state.first_claimed_ms, now_ms))

    def _reset_key(self, row: Sequence[Any], now_ms: int, window_ms: int) -> tuple[str, Any, int]:
        """Return a row of a DEDUP record. A key that ends later than one of now was used under the wrong clock."""
        key, value, until_ms = row
        is_attempt = isinstance(value, Sequence)
        if until_ms <= now_ms + (DEDUPLICATION_WINDOW_MS if is_attempt else window_ms):
            return key, value, until_ms
        if is_attempt:
            token, runs, due_ms = value
            value = [token, runs, due_ms - self._ahead_ms]
        return key, value, until_ms - self._ahead_ms


def _reset_metadata(namespace: str, value: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the value of a redrive or a schedule. A schedule continues with the next due time from now."""
    after = {
        name: min(field, now_ms) if name.endswith("_ms") and isinstance(field, int) else field
        for name, field in value.items()
    }
    if namespace == SCHEDULES and value["next_ms"] is not None and value["next_ms"] > now_ms:
        try:
            after["next_ms"] = next(times_after(value["cron"], value["timezone"], now_ms), None)
        except InvalidValueError:  # the system does not know the time zone any more
            after["next_ms"] = now_ms
    return after
