"""Verification of checkpoints: their bytes, and that a start from them yields the same state as the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from wonderq.model.status import WAITING
from wonderq.state import record
from wonderq.state.state import Queue, State
from wonderq_storage import DamagedCheckpointError, FileCheckpoints, Mark, StaleMarkError
from wonderq_storage.disk import Disk
from wonderq_storage.recovery import Recovery, wall_clock_ms
from wonderq_storage.salvage import Problem

_CHUNK_MESSAGES = 4096


def check_checkpoints(folder: Path, whole: State | None, problems: list[Problem], warnings: list[str]) -> None:
    """Check each checkpoint in a folder that the caller has locked.

    ``whole`` is the state after all records, or None if the log is damaged and there is nothing to compare with. A
    checkpoint that a start would skip is added to ``warnings``, a wrong one to ``problems``.
    """
    checkpoints = FileCheckpoints(folder)
    for path in checkpoints.paths():
        try:
            mark, state = load(checkpoints, path)
        except (DamagedCheckpointError, ValueError, LookupError, TypeError) as error:
            warnings.append(f"{path.name} cannot be used, and a start skips it: {error}")
            continue
        if whole is None:
            continue
        try:
            difference = _difference(_replayed(folder, state, mark), whole)
        except StaleMarkError as error:
            warnings.append(f"{path.name} does not belong to this log, and a start skips it: {error}")
            continue
        if difference:
            problems.append(
                Problem(str(path), 0, f"the checkpoint contradicts the log: {difference}. Remove it: the log is intact")
            )


def load(checkpoints: FileCheckpoints, path: Path) -> tuple[Mark, State]:
    """Read one checkpoint.

    Raises:
        DamagedCheckpointError, ValueError, LookupError, TypeError: the checkpoint cannot be used.
    """
    mark, chunks = checkpoints.read(path)
    state = State.load(chunks)
    if next(chunks, None) is not None:
        raise ValueError(f"{path}: there are bytes behind the state")
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
    """Describe the first difference between two states, or return None."""
    for name in ("key", "identity_at", "next_queue"):
        if getattr(found, name) != getattr(whole, name):
            return f"{name} is {getattr(found, name)!r}, but {getattr(whole, name)!r} in the log"
    if found.last_ms < whole.last_ms:  # the time of a checkpoint may be newer than all records
        return f"its newest time is {found.last_ms}, but {whole.last_ms} in the log"
    if found.queues.keys() != whole.queues.keys():
        return f"its queues are {sorted(found.queues)}, but {sorted(whole.queues)} in the log"
    now_ms = max(found.last_ms, wall_clock_ms())
    for name, queue in whole.queues.items():
        other = found.queues[name]
        for each in (queue, other):
            each.messages.advance(now_ms)
        for theirs, ours in zip_longest(_facts(other), _facts(queue)):
            if theirs != ours:
                return f"queue {name}: {theirs}, but {ours} in the log"
    return None


def _facts(queue: Queue) -> Iterator[tuple[Any, ...]]:
    """Yield the comparable facts about a queue and each of its messages."""
    yield queue.number, queue.settings, queue.created_ms, queue.record_position, queue.messages.next_sequence
    for views in queue.messages.walk(_CHUNK_MESSAGES):
        for view in views:
            # Checkpoint and replay differ in the last claim of a waiting message, and in the numbers of lanes.
            fact = view._replace(lane=0)
            fact = fact if view.status != WAITING else fact._replace(due_ms=0, timeout_ms=0)
            yield fact, queue.messages.lane_of(view)
