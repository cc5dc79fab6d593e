"""Background work on the log: checkpoints and compaction, and when each is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from wonderq.broker.background import TICK_S, BackgroundLoop
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import BATCH_BYTES, URGENT_BATCH_BYTES, compact_oldest, live_bytes
from wonderq_storage import Checkpoints, Log, TrimmedError

logger = logging.getLogger("wonderq.maintenance")

#: A checkpoint is due after this many bytes of log, or this many times the size of the last one, whichever is more.
CHECKPOINT_EVERY_BYTES = 64 << 20
_CHECKPOINT_EVERY_TIMES = 4

#: A stop writes a checkpoint if the next start would otherwise replay more than this, which takes some tenths of a
#: second. Replay also verifies, so a smaller log is better replayed.
WORTH_A_CHECKPOINT_BYTES = 8 << 20

#: Divisor of the tolerated garbage on a disk that has no room for another segment.
_CRAMPED = 8

#: Seconds of rest between two turns of a checkpoint, which hold the lock for about a millisecond each.
_REST_OF_TURNS_S = 0.001

#: Seconds of rest for each second of calm copying. Urgent copying does not rest.
_REST = 1.0


class CheckpointEndedError(Exception):
    """A checkpoint was given up, because nobody waits for it any more. Nothing is left of it."""


def checkpoint(
    broker: Broker, log: Log, checkpoints: Checkpoints, is_given_up: Callable[[], bool] = lambda: False
) -> int:
    """Write a checkpoint of the state without stopping the broker; return its size in bytes.

    It ends early if ``is_given_up`` returns True, which is asked before each chunk.

    Raises:
        CheckpointEndedError: it was given up.
        DiskFullError: the disk has no room. Nothing is lost, since a checkpoint is a cache.
        LogFailedError: the log before the checkpoint cannot be made durable.
    """
    with broker.locked() as (state, _, _):
        snapshot, mark = state.begin_snapshot(), log.mark()
    try:
        _in_turns(broker, lambda: not is_given_up() and snapshot.freeze_more())
        if is_given_up():
            raise CheckpointEndedError
        log.sync()
        return checkpoints.write(mark, _unless(is_given_up, snapshot.chunks(broker.core.clock.now_ms())))
    finally:
        _in_turns(broker, snapshot.thaw_more)


def _unless(is_given_up: Callable[[], bool], chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks until they are given up.

    Raises:
        CheckpointEndedError: they were.
    """
    while not is_given_up():
        chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk
    raise CheckpointEndedError


def _in_turns(broker: Broker, turn: Callable[[], bool]) -> None:
    """Call a function until it returns False. Each call holds the broker's lock; others get it between two calls."""
    while True:
        with broker.locked():
            if not turn():
                return
        time.sleep(_REST_OF_TURNS_S)


class LogMaintenance(BackgroundLoop):
    """Writes checkpoints and compacts the log when they are due."""

    def __init__(
        self,
        broker: Broker,
        log: Log,
        checkpoints: Checkpoints,
        *,
        slack_bytes: int,
        checkpoint_every_bytes: int = CHECKPOINT_EVERY_BYTES,
        tick_s: float = TICK_S,
    ) -> None:
        """``slack_bytes`` of garbage are always tolerated: less than a segment cannot be dropped."""
        super().__init__(broker, "maintenance", tick_s)
        self._log = log
        self._checkpoints = checkpoints
        self._slack_bytes = slack_bytes
        self._checkpoint_every_bytes = checkpoint_every_bytes
        self._gives_up = False
        self._checkpointed_overhead_bytes = 0  # `Log.replay_overhead_bytes` at the last checkpoint

    def stop(self, *, with_checkpoint: bool = True) -> None:
        """End the thread, and write a last checkpoint for the next start if it saves replaying many records.

        Without a last one, a checkpoint that is under way is given up: somebody waits for the end.
        """
        self._gives_up = not with_checkpoint
        super().stop()
        if not with_checkpoint:
            return
        # Not after a failure: with a checkpoint, the next start would not read the part of the log that is damaged.
        if self._lag_bytes > WORTH_A_CHECKPOINT_BYTES and not self._has_failed:
            self.attempt(self._checkpoint, None)

    def turn(self) -> float:
        """Write a checkpoint if one is due, and compact the log while garbage takes too much space."""
        if self._checkpoint_is_due():
            self.attempt(self._checkpoint, None)
        while not self._stop.is_set() and self.attempt(self._compact, False):
            pass
        return self._tick_s

    def _checkpoint_is_due(self) -> bool:
        last_bytes = self._broker.counters.checkpoint_bytes
        due_bytes = max(self._checkpoint_every_bytes, _CHECKPOINT_EVERY_TIMES * last_bytes)
        return self._lag_bytes > due_bytes

    @property
    def _lag_bytes(self) -> int:
        """Work of a replay that begins with the last checkpoint, in bytes of records."""
        overhead_bytes = self._log.replay_overhead_bytes - self._checkpointed_overhead_bytes
        return self._broker.checkpoint_lag_bytes + overhead_bytes

    def _checkpoint(self) -> None:
        began = time.monotonic()
        appended, overhead_bytes = self._broker.log_bytes, self._log.replay_overhead_bytes
        counters = self._broker.counters
        try:
            written_bytes = checkpoint(self._broker, self._log, self._checkpoints, lambda: self._gives_up)
        except CheckpointEndedError:
            logger.info("the checkpoint that was under way is given up")
            return
        counters.checkpoint_bytes = written_bytes
        counters.checkpointed_bytes, self._checkpointed_overhead_bytes = appended, overhead_bytes
        counters.checkpoint_s = time.monotonic() - began
        counters.checkpoint_at_s = time.time()
        counters.checkpoints += 1
        logger.info("checkpoint of %d bytes in %.2f s", counters.checkpoint_bytes, counters.checkpoint_s)

    def _compact(self) -> bool:
        """Compact the oldest part of the log if garbage takes too much space; return whether it was compacted."""
        pressure = self._pressure()
        if pressure <= 1:
            return False
        if self._log.oldest() is None:
            self._log.rotate()  # only a part that has ended can be dropped
            self._log.sync()
        calm = max(0.0, 1 - 4 * (pressure - 1))
        batch_bytes = int(BATCH_BYTES * calm + URGENT_BATCH_BYTES * (1 - calm))
        rest = _REST * calm
        try:
            return compact_oldest(
                self._broker, self._log, lambda took_s: self._stop.wait(took_s * rest), batch_bytes=batch_bytes
            )
        except TrimmedError as error:  # a former owner that was frozen in its own compaction has just ended it
            logger.info("the oldest part of the log is gone already: %s", error)
            return False

    def _pressure(self) -> float:
        """Return the size of the log as a fraction of its allowed size.

        Garbage may take as much space as live data, or as much as is free on the disk.
        """
        live = live_bytes(self._broker)
        free = self._log.free_bytes()
        # Where no other segment fits, the one in use must be dropped: full of garbage, it would block every producer.
        slack = self._slack_bytes if free > self._slack_bytes else self._slack_bytes // _CRAMPED
        return self._log.used_bytes() / (live + min(live, free) + slack)
