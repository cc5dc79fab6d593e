"""Checking checkpoints: that they verify, and that a start from them comes to the same state as reading the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from wonderq.model.status import WAITING
from wonderq.state import record
from wonderq.state.state import Queue, State
from wonderq_storage import Checkpoints, DamagedCheckpointError, Mark, StaleMarkError
from wonderq_storage.disk import Disk
from wonderq_storage.recovery import Recovery, wall_clock_ms
from wonderq_storage.salvage import Problem

_CHUNK_MESSAGES = 4096


def check_checkpoints(folder: Path, whole: State | None, problems: list[Problem], warnings: list[str]) -> None:
    """Look at each checkpoint in a folder that the caller holds.

    ``whole`` is what all records add up to, or None if they are damaged, which leaves nothing to compare with. A
    checkpoint that a start would pass over is a warning; one that would mislead it is a problem.
    """
    checkpoints = Checkpoints(folder)
    for path in checkpoints.paths():
        try:
            mark, state = load(checkpoints, path)
        except (DamagedCheckpointError, ValueError, LookupError, TypeError) as error:
            warnings.append(f"{path.name} cannot be used, and a start passes it over: {error}")
            continue
        if whole is None:
            continue
        try:
            difference = _difference(_replayed(folder, state, mark), whole)
        except StaleMarkError as error:
            warnings.append(f"{path.name} is not of this log, and a start passes it over: {error}")
            continue
        if difference:
            problems.append(
                Problem(
                    str(path), 0, f"the checkpoint disagrees with the log: {difference}. Remove it: the log is whole"
                )
            )


def load(checkpoints: Checkpoints, path: Path) -> tuple[Mark, State]:
    """Read one checkpoint.

    Raises:
        DamagedCheckpointError, ValueError, LookupError, TypeError: it cannot be used.
    """
    mark, chunks = checkpoints.read(path)
    state = State.load(chunks)
    if next(chunks, None) is not None:
        raise ValueError(f"{path}: there is more in it than it says")
    return mark, state


def _replayed(folder: Path, state: State, mark: Mark) -> State:
    recovery = Recovery(Disk(), folder)
    try:
        for position, data in recovery.replay(mark):
            state.apply(record.decode(data), position, len(data))
    finally:
        recovery.close()
    return state


def _difference(found: State, whole: State) -> str | None:
    """Name the first thing in which two states differ."""
    for name in ("key", "identity_at", "next_queue", "last_ms"):
        if getattr(found, name) != getattr(whole, name):
            return f"it says {name} {getattr(found, name)!r}, the log {getattr(whole, name)!r}"
    if found.queues.keys() != whole.queues.keys():
        return f"it knows the queues {sorted(found.queues)}, the log {sorted(whole.queues)}"
    now_ms = max(whole.last_ms, wall_clock_ms())
    for name, queue in whole.queues.items():
        other = found.queues[name]
        for each in (queue, other):
            each.messages.advance(now_ms)
        for theirs, ours in zip_longest(_facts(other), _facts(queue)):
            if theirs != ours:
                return f"queue {name}: it says {theirs}, the log {ours}"
    return None


def _facts(queue: Queue) -> Iterator[tuple[Any, ...]]:
    """Yield all there is to know of a queue, its messages one by one."""
    yield queue.number, queue.settings, queue.created_ms, queue.record_position, queue.messages.next_sequence
    for views in queue.messages.walk(_CHUNK_MESSAGES):
        for view in views:
            # What a waiting message's last claim was is not kept in the same way by every path to the same state.
            yield view if view.status != WAITING else view._replace(due_ms=0, timeout_ms=0)
