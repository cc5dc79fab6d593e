"""Replay: rebuild the state from the newest usable checkpoint and the records after it, or from all records."""

from __future__ import annotations

import logging

from wonderq.state import record
from wonderq.state.state import State, UnreadableRecordError
from wonderq.state.thinning import Thinning
from wonderq_storage import Checkpoints, DamagedCheckpointError, Log, LogMovedError, Mark, StaleMarkError

logger = logging.getLogger("wonderq")

#: Records between two steps of thinning, so that a start takes no more memory than the state needs.
_THIN_EVERY_RECORDS = 1024

#: Records between two removals of expired keys, for each queue and topic, since each is looked at then; and at least
#: `_THIN_EVERY_RECORDS`. The most work of a removal, for each record: more than it can add.
_FORGET_EVERY_RECORDS = 4
_FORGET_MOST = 4

#: Most replays of a log whose beginning another writer drops meanwhile.
_MOST_REPLAYS = 10


def replay_log(log: Log, checkpoints: Checkpoints | None = None) -> tuple[State, int]:
    """Return the state of a log, and the number of bytes of records that were read for it.

    Logs a warning for each checkpoint that cannot be used. Without ``checkpoints``, all records are read.

    Raises:
        CorruptLogError, UnsupportedFormatError: see `Log.replay`.
        UnreadableRecordError: a record cannot be decoded, or does not fit the records before it; see `State.apply`.
        LogMovedError: another writer drops the beginning of the log faster than it can be read.
    """
    for _ in range(_MOST_REPLAYS - 1):
        try:
            return _replay_once(log, checkpoints)
        except LogMovedError as error:
            logger.warning("the replay begins again: %s", error)
    return _replay_once(log, checkpoints)


def _replay_once(log: Log, checkpoints: Checkpoints | None) -> tuple[State, int]:
    for mark, chunks in checkpoints.newest_first() if checkpoints else ():
        try:
            state = State.load(chunks)
            if next(chunks, None) is not None:
                raise ValueError("it has more pages than its header counts")
        except (DamagedCheckpointError, ValueError) as error:
            logger.warning("ignoring a checkpoint that cannot be used: %s", error)
            continue
        try:
            replayed = _apply(log, state, mark)
        except StaleMarkError as error:
            logger.warning("ignoring a checkpoint of another log: %s", error)
            continue
        assert checkpoints is not None
        checkpoints.prove(mark)
        return replayed
    return _apply(log, State(), None)


def _apply(log: Log, state: State, mark: Mark | None) -> tuple[State, int]:
    """Apply the records after a mark; returns the state and the bytes of the records."""
    size, forgotten = 0, 0
    thinning = Thinning(state)
    for count, (position, data) in enumerate(log.replay(mark), 1):
        try:
            fields = record.decode(data)
        except ValueError as error:
            raise UnreadableRecordError(f"the record at position {position:#x}: {error}") from error
        state.apply(fields, position, len(data))
        if state.dropped:
            state.free_dropped()
        size += len(data)
        if count % _THIN_EVERY_RECORDS == 0:
            thinning.step()
            # A process that stands by replays for as long as the owner lives, and nobody else forgets its keys.
            if count - forgotten >= _FORGET_EVERY_RECORDS * (len(state.queues) + len(state.topics)):
                state.forget(state.last_ms, _FORGET_MOST * (count - forgotten))
                forgotten = count
    state.check_complete()
    return state, size
