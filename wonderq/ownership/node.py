"""The life of a process that shares a log: it stands by, takes over, serves, loses the log, and stands by again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from wonderq.broker.broker import Broker
from wonderq.ownership.front import Front
from wonderq.ownership.member import Hearing, Member
from wonderq.rest.health import SharedLogState, Standing
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    SharedLog,
    StorageError,
    UnsupportedFormatError,
)

logger = logging.getLogger("wonderq.ownership")

#: Interval of the announcements, at which an owner also looks whether its log works.
ANNOUNCE_S = 0.2

#: New requests are refused while a group waits longer than this to become durable.
NO_QUORUM_S = 2.0

#: Interval at which the stream is looked at.
_LOOK_S = 1.0

#: Pause after a failure, before the process stands by again.
_PAUSE_S = 1.0


class Seen(Protocol):
    """The result of `Peers.look`."""

    @property
    def replicas(self) -> int: ...

    @property
    def replicas_current(self) -> int: ...

    @property
    def clock_ahead_ms(self) -> int: ...


class Peers(Protocol):
    """The connection to the other processes; `wonderq_storage.jetstream_peers` describes the methods."""

    @property
    def connected_s(self) -> float: ...

    def listen(self, callback: Callable[[bytes], None]) -> None: ...

    def announce(self, data: bytes) -> None: ...

    def look(self) -> Seen | None: ...


class Owned(NamedTuple):
    """A broker whose log this process owns."""

    broker: Broker
    log: SharedLog
    app: Any
    """WSGI application that serves the broker."""


class Node:
    """This process. ``own`` opens the log with the turn that it is given, and runs a broker on it.

    Entering ``own`` stands by until the log is taken over; leaving it closes the broker.
    """

    def __init__(self, name: str, peers: Peers, own: Callable[[Member], AbstractContextManager[Owned]]) -> None:
        self.member = Member(name, self._hearing)
        self.front = Front(lambda: self.has_quorum, lambda: self.standing().refusal())
        self.seen: Seen | None = None
        """The stream as it was seen last, or None while its leader does not answer."""
        self.takeovers = 0
        self.fenced = 0
        """Number of times that another process took the log from this one."""
        self.takeover_s: float | None = None
        """Seconds from the decision to take over until the broker served, the last time."""
        self.took_over_ms = 0
        """Time at which this process last began to serve."""
        self.log: SharedLog | None = None
        """The log, while this process owns it."""
        self._broker: Broker | None = None
        self._connected_s = time.monotonic()  # when there was a connection last
        self._former_retries = 0  # of the logs before this one
        self._peers = peers
        self._own = own
        self._trouble: str | None = None  # why the last attempt failed
        self._final: Standing | None = None  # why this process will never take over
        self._lost = threading.Event()
        self._ending = threading.Event()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"wonderq-{what}", daemon=True)
            for what, run in (("ownership", self._run), ("announcer", self._announce), ("observer", self._observe))
        ]

    def start(self) -> None:
        """Begin to stand by."""
        self._peers.listen(self.member.hear)
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Close the broker, if this process has one, and hand its log over to whoever stands by."""
        self._ending.set()
        self._lost.set()
        self.member.close()
        self._threads[0].join()
        self.member.release()
        self._peers.announce(self.member.announcement())  # at once: others wait for it
        self._ended.set()
        for each in self._threads[1:]:
            each.join()

    def stop_claiming(self) -> None:
        """Answer the consumers that wait, because the process is about to end."""
        if (broker := self._broker) is not None:
            broker.stop_claiming()

    # What others see

    @property
    def is_connected(self) -> bool:
        """Whether this process is connected to a server."""
        return self._peers.connected_s > 0

    @property
    def is_serving(self) -> bool:
        """Whether the broker of this process answers requests."""
        return self.log is not None and self.log.failure is None and self.has_quorum

    @property
    def append_retries(self) -> int:
        """Number of groups that this process sent again."""
        log = self.log
        return self._former_retries + (0 if log is None else log.append_retries)

    def shared_log(self) -> SharedLogState | None:
        """Return the state of the log while this process owns it, otherwise None."""
        if self.log is None or self.takeover_s is None:
            return None
        seen = self.seen
        return SharedLogState(
            self.member.node,
            self.member.epoch,
            self.took_over_ms,
            self.takeover_s,
            self.fenced,
            self.member.heard,
            self.member.clock_ahead_ms,
            None if seen is None else seen.replicas,
            None if seen is None else seen.replicas_current,
        )

    def _hearing(self) -> Hearing:
        seen = self.seen
        return Hearing(self._peers.connected_s, None if seen is None else seen.clock_ahead_ms)

    @property
    def has_quorum(self) -> bool:
        """Whether what the owner appends becomes durable, as far as it knows: an idle one only sees its connection."""
        log = self.log
        is_cut_off = not self.is_connected and time.monotonic() - self._connected_s > NO_QUORUM_S
        return log is None or (log.waiting_s <= NO_QUORUM_S and not is_cut_off)

    def standing(self) -> Standing:
        """Return why this process does not serve requests at present."""
        if self._final is not None:
            owner = self.member.owner
            return self._final._replace(owner=None if owner is None else owner.node)
        log = self.log
        if self.member.is_owner and (log is None or log.failure is None):
            if log is not None and not self.has_quorum:
                text = "NATS does not answer, so nothing can be stored."
                if log.waiting_s:
                    text = f"NATS has acknowledged nothing for {log.waiting_s:.0f} s, so nothing can be stored."
                return Standing("waiting_for_quorum", "no_quorum", text, self.member.node)
            return Standing("taking_over", "standing_by", "This process is taking the log over.", self.member.node)
        owner = self.member.owner
        obstacle = self.member.obstacle
        warnings = [] if obstacle is None else [obstacle]
        status, does = "standing_by", "stands by"
        if not self.member.has_read:
            status, does = "reading", "still reads the log, and cannot take over yet"
        if owner is not None:
            text = f"This process {does}. {owner.node} owns the log: send requests there."
            return Standing(status, "standing_by", text, owner.node, warnings)
        if self.seen is None:
            text = f"NATS does not answer, so no process can own the log. {self._trouble or ''}".rstrip()
            return Standing("waiting_for_quorum", "no_quorum", text)
        text = "No process owns the log at present. This one takes over as soon as it may."
        if obstacle is not None:
            text = f"No process owns the log at present. {obstacle}"
        elif self._trouble is not None:
            text = f"No process owns the log at present. {self._trouble}"
        return Standing(status, "standing_by", text, None, warnings)

    # The life

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._live_once()
            except LogClosedError as error:
                if not self._ending.is_set():
                    self._fail(str(error))
            except UnsupportedFormatError as error:
                text = f"This process stands by and cannot take over: {error}"
                self._give_up(Standing("outdated", "standing_by", text))
                return
            except (CorruptLogError, UnreadableRecordError) as error:
                text = f"{error}. No process takes over until a person has decided; see docs/HIGH_AVAILABILITY.md."
                self._give_up(Standing("damaged", "log_damaged", text))
                return
            except LogLostError as error:  # while it was being taken over
                self._lose(error)
            except (StorageError, OSError) as error:
                self._fail(str(error))
            except Exception as error:
                logger.critical("taking the log over has failed", exc_info=True)
                self._fail(str(error))

    def _live_once(self) -> None:
        """Stand by, take over, and serve until the log is lost or the process ends."""
        self._lost.clear()
        with self._own(self.member) as owned:
            log = owned.log
            log.on_lost(lambda _: self._lost.set())
            try:
                self._serve(owned)
            finally:
                self.front.stand_by()
        self.member.acknowledge(log.log_id, log.acknowledged_sequence)  # closing it may have appended something
        self._former_retries += log.append_retries
        self.log = self._broker = None
        if self._ending.is_set():
            return
        if self._is_lost(log):
            raise LogLostError(log.failure)
        raise LogFailedError(log.failure or "The log is full, and another process seems to own it.")

    @staticmethod
    def _is_lost(log: SharedLog) -> bool:
        found: list[LogLostError] = []
        log.on_lost(found.append)  # which is called at once if it is
        return bool(found)

    def _serve(self, owned: Owned) -> None:
        log, member = owned.log, self.member
        self.log, self._broker = log, owned.broker
        self._trouble = None
        self.takeovers += 1
        self.takeover_s = time.monotonic() - member.decided_s
        self.took_over_ms = time.time_ns() // 1_000_000
        self.front.serve(owned.app)
        logger.info("this process owns the log, epoch %d, and serves after %.2f s", log.epoch, self.takeover_s)
        while not self._ending.is_set() and log.failure is None:
            if member.is_deposed:
                try:
                    log.wait(log.confirm())  # which fails if that is so
                except DiskFullError:
                    return  # nothing can be confirmed, so only opening the log again shows whose it is
                except StorageError as error:
                    logger.info("another process has a newer epoch: %s", error)
            self._lost.wait(ANNOUNCE_S)
            if log.failure is None:
                self._lost.clear()

    def _give_up(self, standing: Standing) -> None:
        self._final = standing
        logger.critical("the log cannot be taken over: %s", standing.message)
        self._release_log()
        self.member.close(is_final=True)

    def _lose(self, error: LogLostError) -> None:
        logger.warning("%s This process stands by", error)
        self.fenced += 1
        self._release_log()
        self.member.lose()

    def _fail(self, reason: str) -> None:
        logger.error("%s This process stands by again", reason)
        self._trouble = reason
        self._release_log()
        self.member.stand_by()
        self._ending.wait(_PAUSE_S)

    def _release_log(self) -> None:
        self.log = self._broker = None
        self.front.stand_by()

    # Beside it

    def _announce(self) -> None:
        while not self._ended.wait(ANNOUNCE_S):
            log = self.log
            if log is not None and log.failure is None:
                self.member.acknowledge(log.log_id, log.acknowledged_sequence)
            if self.is_connected:
                self._connected_s = time.monotonic()
                self._peers.announce(self.member.announcement())

    def _observe(self) -> None:
        while not self._ended.is_set():
            self.seen = self._peers.look() if self.is_connected else None
            self._ended.wait(_LOOK_S)
