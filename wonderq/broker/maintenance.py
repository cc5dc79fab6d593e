"""What a broker does for its folder beside its work: checkpoints, and compaction.

**Compaction** copies what is still live out of the oldest segment to the end of the log, and drops the segment. Because it
only ever drops from the front, nothing that a record takes back can outlive the record: there are no rules for merging.
A segment with nothing live in it is just dropped. Copying begins when what is garbage outweighs what is live, so each byte
is copied about once for each time the log turns over, and the folder stays below about twice its live bytes.

A crash at any moment is harmless: until the segment is dropped, the log has the copies and the originals, and says of both
the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from wonderq.broker.broker import Broker
from wonderq.broker.compaction import BATCH_BYTES, URGENT_BATCH_BYTES, compact_oldest, live_bytes
from wonderq_storage import Checkpoints, CorruptLogError, DiskFullError, Log, LogClosedError, LogFailedError

logger = logging.getLogger("wonderq.maintenance")

#: How often it is looked whether something is due.
TICK_S = 0.5

#: A checkpoint is due after so much log, or after so many times what the last one took, whichever is more.
CHECKPOINT_EVERY_BYTES = 64 << 20
_CHECKPOINT_EVERY_TIMES = 4

#: A stop leaves a checkpoint if the next start would otherwise read more than this: some tenths of a second. What is read
#: is also verified, so a small log is better read.
WORTH_A_CHECKPOINT_BYTES = 8 << 20

#: On a disk without room for another segment, this part of a segment is as much garbage as is left in peace.
_CRAMPED = 8

#: For each second of calm copying, so many seconds of rest; none when it is urgent.
_REST = 1.0


def checkpoint(broker: Broker, log: Log, checkpoints: Checkpoints) -> int:
    """Write down the state as it is now, while the broker goes on; returns how many bytes that took.

    Raises:
        DiskFullError: there is no room for it. Nothing is lost: it is a cache.
        LogFailedError: the log behind it cannot be made durable.
    """
    with broker.locked() as (state, _, _):
        snapshot, mark = state.freeze(), log.mark()
    try:
        log.sync()
        return checkpoints.write(mark, snapshot.chunks())
    finally:
        with broker.locked():
            snapshot.release()


class LogMaintenance:
    """Does both in a thread of its own, when they are due."""

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
        """``slack_bytes`` of garbage are always tolerated: less than a segment cannot be dropped anyway."""
        self._broker = broker
        self._log = log
        self._checkpoints = checkpoints
        self._slack_bytes = slack_bytes
        self._checkpoint_every_bytes = checkpoint_every_bytes
        self._tick_s = tick_s
        self._broken = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wonderq-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write a last checkpoint for the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._broker.checkpoint_lag_bytes > WORTH_A_CHECKPOINT_BYTES and not self._broken:
            self._try(self._checkpoint)

    def _run(self) -> None:
        while not self._stop.wait(self._tick_s):
            if self._checkpoint_is_due():
                self._try(self._checkpoint)
            while not self._stop.is_set() and self._try(self._compact):
                pass

    def _try(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except CorruptLogError as error:
            self._broker.mark_damaged(error.file, error.offset, error.reason)
            self._end()
        except LogClosedError:
            self._end()
        except (DiskFullError, LogFailedError, OSError) as error:
            if self._log.failure is not None:
                self._end()
                return False
            logger.warning("upkeep is put off: %s", error)
            self._stop.wait(10 * self._tick_s)
        except Exception:
            logger.exception("upkeep ends until the broker is restarted")
            self._end()
        return False

    def _end(self) -> None:
        # No last checkpoint either: with one, the next start would not read what has turned out to be damaged.
        self._broken = True
        self._stop.set()

    def _checkpoint_is_due(self) -> bool:
        last_bytes = self._broker.counters.checkpoint_bytes
        due_bytes = max(self._checkpoint_every_bytes, _CHECKPOINT_EVERY_TIMES * last_bytes)
        return self._broker.checkpoint_lag_bytes > due_bytes

    def _checkpoint(self) -> bool:
        began = time.monotonic()
        appended = self._broker.log_bytes
        counters = self._broker.counters
        counters.checkpoint_bytes = checkpoint(self._broker, self._log, self._checkpoints)
        counters.checkpointed_bytes = appended
        counters.checkpoint_s = time.monotonic() - began
        counters.checkpoint_at_s = time.time()
        counters.checkpoints += 1
        logger.info("checkpoint of %d bytes in %.2f s", counters.checkpoint_bytes, counters.checkpoint_s)
        return True

    def _compact(self) -> bool:
        """Compact the oldest part of the log, if garbage takes too much; returns whether it did."""
        pressure = self._pressure()
        if pressure <= 1:
            return False
        if self._log.oldest() is None:
            # Only the sealed segment gives back what it did not need: whoever came before that would find no room.
            with self._broker.locked():
                self._log.rotate()
        calm = max(0.0, 1 - 4 * (pressure - 1))
        batch_bytes = int(BATCH_BYTES * calm + URGENT_BATCH_BYTES * (1 - calm))
        rest = _REST * calm
        return compact_oldest(
            self._broker, self._log, lambda took_s: self._stop.wait(took_s * rest), batch_bytes=batch_bytes
        )

    def _pressure(self) -> float:
        """How large the log is, in parts of what it may be: garbage may take as much as what is live, or is free."""
        live = live_bytes(self._broker)
        free = self._log.free_bytes()
        # Where no other segment fits, the one in use has to go: full of garbage, it would keep out every producer.
        slack = self._slack_bytes if free > self._slack_bytes else self._slack_bytes // _CRAMPED
        return self._log.used_bytes() / (live + min(live, free) + slack)
