"""The life of one shard on one node: it is read, taken over, served, and closed again, on a thread of its own.

The thread exists only from the beginning of the reading to the end of the broker, and sleeps while the broker serves.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from wonderq.broker.broker import Broker
from wonderq.cluster.announcements import OfShard
from wonderq.cluster.steward import Own, Phase
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    LogMovedError,
    Reached,
    SharedLog,
    StorageError,
    UnsupportedFormatError,
)

logger = logging.getLogger("wonderq.cluster")

#: Requests are refused while a group of records waits longer than this to become durable.
NO_QUORUM_S = 2.0

#: Bounds of the random pause of a node that was not fast enough, so that the winner is heard first.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0

#: Pause after a failure.
_FAILURE_PAUSE_S = 1.0


class OwnedShard(NamedTuple):
    """A shard that this node owns."""

    broker: Broker
    log: SharedLog
    collectors: Any
    """Prometheus collectors of the broker."""


class Known(Protocol):
    """What the node has heard of its shards. The methods take the number of the shard, and do not wait."""

    def known_sequence(self, shard: int, log_id: str) -> int: ...

    def known_log(self, shard: int) -> tuple[str, int]:
        """Return the id of the log that was heard of last, and its newest acknowledged message; "" and 0 if none."""

    def know_epoch(self, shard: int, epoch: int) -> None: ...

    def lost(self, shard: int) -> None:
        """Another node has taken the shard from this one."""

    def released(self, shard: int, epoch: int, log_id: str, sequence: int) -> None:
        """This node has closed the shard in order."""

    def phase_changed(self, shard: int) -> None: ...


class Shard:
    """One shard. It is the `wonderq_storage.Turn` of its log.

    ``own`` opens the log with the turn that it is given, and runs a broker on it. Entering it reads the log, waits for
    the turn and takes over; leaving it closes the broker.

    Threads: any number may call any method.
    """

    def __init__(self, number: int, known: Known, own: Callable[[Shard], AbstractContextManager[OwnedShard]]) -> None:
        self.number = number
        self.takeovers = 0
        self.fenced = 0
        """Number of times that another node took the shard from this one."""
        self.takeover_s: float | None = None
        """Seconds from the decision to take over until the broker served, the last time."""
        self.trouble: str | None = None
        """Why the last attempt failed, or the reason of the phases ``outdated`` and ``damaged``."""
        self.owned: OwnedShard | None = None
        self._known = known
        self._own = own
        self._condition = threading.Condition()
        self._phase: Phase = "none"
        self._epoch = 0
        self._reached = Reached(None, 0, 0)
        self._is_read_again = False
        self._may_take = False
        self._is_leaving = False
        self._must_confirm = False
        self._released: OfShard | None = None
        self._not_before_s = 0.0
        self._decided_s = 0.0
        self._thread: threading.Thread | None = None

    # What others see

    @property
    def own(self) -> Own:
        with self._condition:
            return Own(self._phase, self._epoch)

    @property
    def epoch(self) -> int:
        """Epoch of the present ownership, or 0."""
        with self._condition:
            return self._epoch if self._phase in ("owned", "closing") else 0

    @property
    def has_quorum(self) -> bool:
        """Whether what is appended to an owned shard becomes durable, as far as its log knows."""
        owned = self.owned
        return owned is not None and owned.log.waiting_s <= NO_QUORUM_S

    def announcement(self) -> OfShard | None:
        """Return what to tell the other nodes, or None if this node has nothing of its own to tell."""
        with self._condition:
            owned = self.owned
            if self._phase == "damaged":
                return OfShard("damaged", 0, "", 0)
            if self._phase in ("owned", "closing") or (self._phase == "taking" and self._epoch):
                log = None if owned is None else owned.log
                if log is None or log.failure is not None:
                    log_id = self._reached.log_id
                    return OfShard("owner", self._epoch, "" if log_id is None else log_id.hex(), self._reached.sequence)
                return OfShard("owner", self._epoch, log.log_id.hex(), log.acknowledged_sequence)
            return self._released

    # What the node decides

    def read(self) -> None:
        """Begin to read the log, in order to take it over later."""
        self._begin(may_take=False)

    def take(self) -> None:
        """Take the shard over as soon as its log is read."""
        self._begin(may_take=True)

    def _begin(self, *, may_take: bool) -> None:
        with self._condition:
            if time.monotonic() < self._not_before_s:
                return
            if may_take and not self._may_take:
                self._decided_s = time.monotonic()
            self._may_take = self._may_take or may_take
            self._condition.notify_all()
            if self._phase == "none":
                self._phase, self._epoch, self._is_leaving = "reading", 0, False
                self._thread = threading.Thread(target=self._run, name=f"wonderq-shard-{self.number}", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        """Stop reading a log that another node owns, or close an owned shard, so that another node can have it."""
        with self._condition:
            self._may_take = False
            self._is_leaving = True
            self._condition.notify_all()

    def confirm(self) -> None:
        """Look whether another node has taken the shard."""
        with self._condition:
            self._must_confirm = True
            self._condition.notify_all()

    def look_after(self) -> None:
        """Let the thread notice that the log or the broker has failed. The node calls it regularly."""
        owned = self.owned
        if owned is not None and (owned.log.failure is not None or owned.broker.is_damaged):
            self.wake()

    def wake(self) -> None:
        """Let the thread look at the shard now."""
        with self._condition:
            self._condition.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    # The turn

    def wait(self, reached: Reached) -> int | None:
        log_id = _hex(reached.log_id)
        self._check_log(log_id)
        with self._condition:
            self._reached = reached
            self._known.know_epoch(self.number, reached.epoch)
            while not self._is_leaving:
                known = self._known.known_sequence(self.number, log_id)
                if known > reached.sequence:
                    return known
                if self._may_take:
                    self._set("taking")
                    return None
                self._set("warm")
                self._condition.wait(0.2)  # the owner's newest messages are heard five times a second
        raise LogClosedError("this node leaves the shard to another one")

    def _check_log(self, log_id: str) -> None:
        """Check that the log is the one that other nodes know: servers that lost a whole stream begin a new one.

        Raises:
            LogMovedError: it was empty, and is to be read again: another node may have begun it meanwhile.
            CorruptLogError: it is another one.
        """
        known, sequence = self._known.known_log(self.number)
        if known and known != log_id:
            if not log_id and not self._is_read_again:
                self._is_read_again = True
                raise LogMovedError(f"another node has begun the log of shard {self.number} meanwhile")
            reason = f"the log {known} was here, with {sequence} acknowledged messages, and it is gone"
            raise CorruptLogError(f"shard {self.number}", 0, reason)

    def known_sequence(self, log_id: bytes | None) -> int:
        return self._known.known_sequence(self.number, _hex(log_id))

    def beaten(self, error: LogLostError) -> None:
        raise error

    def claimed(self, epoch: int) -> None:
        with self._condition:
            self._set("taking", epoch)
        self._known.know_epoch(self.number, epoch)

    def _set(self, phase: Phase, epoch: int | None = None) -> None:
        """Set the phase. The caller holds the condition."""
        if self._phase != phase or epoch is not None:
            self._phase = phase
            self._epoch = self._epoch if epoch is None else epoch
            self._known.phase_changed(self.number)

    # The life

    def _run(self) -> None:
        end: Phase = "none"
        trouble: str | None = None
        self._is_read_again = False
        try:
            with self._own(self) as owned:
                self._serve(owned)
            self._end_in_order(owned.log)
        except LogClosedError:
            if not self._is_leaving:
                logger.exception("shard %d ends", self.number)
        except LogLostError as error:
            if self._epoch:
                self.fenced += 1
                self._known.lost(self.number)
            logger.warning("shard %d: %s", self.number, error)
        except UnsupportedFormatError as error:
            end, trouble = "outdated", f"This node is too old for the shard: {error}"
        except (CorruptLogError, UnreadableRecordError) as error:
            end, trouble = "damaged", str(error)
        except (StorageError, OSError) as error:
            trouble = str(error)
        except Exception as error:
            logger.critical("shard %d has failed", self.number, exc_info=True)
            trouble = str(error)
        self._end(end, trouble)

    def _end(self, phase: Phase, trouble: str | None) -> None:
        pause_s = _FAILURE_PAUSE_S if trouble else random.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)  # noqa: S311 - no secret
        if phase == "damaged":
            logger.critical(
                "shard %d is served by no node until a person has decided, see docs/CLUSTER.md: %s",
                self.number,
                trouble,
            )
        elif phase == "outdated":
            logger.error("shard %d: %s Until then it leaves the shard to newer nodes", self.number, trouble)
        elif trouble:
            logger.error("shard %d: %s This node tries again", self.number, trouble)
        with self._condition:
            self.trouble = trouble
            self._may_take = self._must_confirm = False
            if not self._is_leaving:
                self._not_before_s = time.monotonic() + pause_s
            self._set(phase, 0)

    def _serve(self, owned: OwnedShard) -> None:
        """Serve until the log is lost or has failed, or the shard is to be released."""
        log = owned.log
        log.on_lost(lambda _: self.wake())
        with self._condition:
            self.owned, self._released, self.trouble = owned, None, None
            self.takeovers += 1
            self.takeover_s = time.monotonic() - self._decided_s
            self._may_take = False
            self._set("owned", log.epoch)
        logger.info(
            "this node owns shard %d, epoch %d, and serves after %.2f s", self.number, log.epoch, self.takeover_s
        )
        try:
            self._watch(owned)
        finally:
            with self._condition:
                self.owned = None  # at once, so that no request begins that could not be finished
                self._set("closing", log.epoch)

    def _watch(self, owned: OwnedShard) -> None:
        """Wait until the shard is to be released, or its log has failed.

        Raises:
            CorruptLogError: the broker has found damage.
            LogFailedError: the log is full, and another node seems to own it.
        """
        log = owned.log
        while log.failure is None:
            if (damage := owned.broker.damage) is not None:
                raise damage
            with self._condition:
                if self._is_leaving:
                    return
                if not self._must_confirm:
                    self._condition.wait()
                    continue
                self._must_confirm = False
            try:
                log.wait(log.confirm())  # which fails if another node has the log
            except DiskFullError as error:  # nothing can be confirmed, so only opening the log again shows whose it is
                raise LogFailedError("The log is full, and another node seems to own it.") from error
            except StorageError as error:
                logger.info("shard %d: another node has a newer epoch: %s", self.number, error)
            self._pause()

    def _pause(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._is_leaving, 0.2)

    def _end_in_order(self, log: SharedLog) -> None:
        """Tell that the shard was closed; it may have been lost instead.

        Raises:
            StorageError: the log was lost, or has failed.
        """
        lost: list[LogLostError] = []
        log.on_lost(lost.append)  # which is called at once if it is
        if lost:
            raise lost[0]
        if log.failure is not None:
            raise StorageError(log.failure)
        log_id, sequence = log.log_id.hex(), log.acknowledged_sequence
        with self._condition:
            self._released = OfShard("released", log.epoch, log_id, sequence)
        self._known.released(self.number, log.epoch, log_id, sequence)
        logger.info("this node has released shard %d, epoch %d", self.number, log.epoch)


def _hex(log_id: bytes | None) -> str:
    return "" if log_id is None else log_id.hex()
