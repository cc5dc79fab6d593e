"""The state of a log: its newest checkpoint that can be used, and the records behind it; or all records."""

from __future__ import annotations

import logging

from wonderq.state import record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import Checkpoints, DamagedCheckpointError, Log, Mark, StaleMarkError

logger = logging.getLogger("wonderq")


def rebuild(log: Log, checkpoints: Checkpoints | None = None) -> tuple[State, int]:
    """Replay a log; returns the state, and how many bytes of records had to be read for it.

    Raises:
        CorruptLogError, UnsupportedFormatError: see `Log.replay`.
        UnreadableRecordError: see `State.apply`; or a record is not one.
    """
    for mark, chunks in checkpoints.newest_first() if checkpoints else ():
        try:
            state = State.load(chunks)
            if next(chunks, None) is not None:
                raise ValueError("there is more in it than it says")
        except (DamagedCheckpointError, ValueError) as error:
            logger.warning("passing over a checkpoint that cannot be used: %s", error)
            continue
        try:
            rebuilt = _apply(log, state, mark)
        except StaleMarkError as error:
            logger.warning("passing over a checkpoint that is not of this log: %s", error)
            continue
        assert checkpoints is not None
        checkpoints.prove(mark)
        return rebuilt
    return _apply(log, State(), None)


def _apply(log: Log, state: State, mark: Mark | None) -> tuple[State, int]:
    size = 0
    for position, data in log.replay(mark):
        try:
            fields = record.decode(data)
        except ValueError as error:
            raise UnreadableRecordError(f"the record at position {position:#x}: {error}") from error
        state.apply(fields, position, len(data))
        size += len(data)
    state.check_complete()
    return state, size
