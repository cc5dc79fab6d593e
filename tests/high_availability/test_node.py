"""The life of a process that shares a log, with others and a log that a test plays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.scripted_peers import LOG_ID, ScriptedPeers, Seen
from tests.support.shared_memory_log import SharedMemoryLog
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.ownership import member as member_module
from wonderq.ownership import neighbours, node
from wonderq.ownership.member import Member
from wonderq.ownership.node import Node, Owned
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    Reached,
    UnsupportedFormatError,
)


class Play:
    """A node, and what it runs on."""

    def __init__(self) -> None:
        self.peers = ScriptedPeers()
        self.log = MemoryLog(shared=True)
        self.errors: list[Exception] = []
        """Errors of the next attempts to take over."""
        self.epoch = 0
        self.owned: list[Owned] = []
        self.closed = 0
        self.node = Node("me:1", self.peers, self.own)
        self._has_begun = False

    @contextmanager
    def own(self, member: Member) -> Iterator[Owned]:
        sequence: int | None = 0
        while sequence is not None:
            read = sequence
            sequence = member.wait(Reached(LOG_ID, self.epoch, read))
        self.epoch += 1
        member.claimed(self.epoch)
        if self.errors:
            raise self.errors.pop(0)
        self.log = self.log.opened_again() if self.owned else self.log
        log = SharedMemoryLog(self.log, self.epoch)
        broker = Broker(log)
        self.owned.append(Owned(broker, log, f"app {self.epoch}"))
        try:
            yield self.owned[-1]
        finally:
            broker.close()
            log.sent_at_the_end = 1
            self.closed += 1

    @property
    def app(self) -> Any:
        return self.node.front._app

    def begin(self) -> None:
        """Let the node stand by."""
        if not self._has_begun:
            self._has_begun = True
            self.node.start()

    def serves(self) -> Any:
        """Let the node stand by, wait until it serves, and return its application."""
        self.begin()
        return eventually(lambda: self.app)

    def stands_by(self) -> None:
        eventually(lambda: self.app is None)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    for module in (neighbours, member_module):
        monkeypatch.setattr(module, "SUSPECT_S", 0.05)
    monkeypatch.setattr(member_module, "_KEEP_OFF_S", 0.01)
    monkeypatch.setattr(member_module, "_REVIEW_S", 0.005)
    monkeypatch.setattr(node, "ANNOUNCE_S", 0.005)
    for name in ("_LOOK_S", "_PAUSE_S"):
        monkeypatch.setattr(node, name, 0.01)
    play = Play()
    yield play
    play.begin()
    play.node.stop()


def test_a_process_alone_takes_over_and_serves(play: Play) -> None:
    assert play.serves() == "app 1"
    assert play.node.is_serving
    assert play.node.takeovers == 1
    assert play.node.takeover_s is not None
    assert eventually(lambda: play.peers.announced and play.peers.announced[-1].log_id)
    said = play.peers.announced[-1]
    assert (said.node, said.role, said.epoch, said.log_id) == ("me:1", "owner", 1, LOG_ID.hex())
    assert eventually(lambda: play.peers.announced[-1].sequence == play.log.end())


def test_a_process_that_has_the_log_and_does_not_serve_yet_is_taking_over(play: Play) -> None:
    play.node.member.claimed(1)
    standing = play.node.standing()
    assert (standing.status, standing.code, standing.owner) == ("taking_over", "standing_by", "me:1")


def test_the_owner_knows_when_it_took_over_and_whom_it_hears(play: Play) -> None:
    assert play.node.shared_log() is None
    before_ms = time.time_ns() // 1_000_000
    play.serves()
    play.peers.say("standing_by", 1)
    eventually(lambda: (found := play.node.shared_log()) and found.replicas)
    state = play.node.shared_log()
    assert state is not None
    assert (state.node, state.epoch, state.fenced) == ("me:1", 1, 0)
    assert before_ms <= state.took_over_ms <= time.time_ns() // 1_000_000
    assert state.takeover_s == play.node.takeover_s
    assert (state.replicas, state.replicas_current, state.clock_ahead_ms) == (3, 3, 0)

    def hears() -> bool:
        play.peers.say("standing_by", 1)  # it is forgotten after a moment of silence
        found = play.node.shared_log()
        return found is not None and list(found.others) == [("other:1", "standing_by")]

    eventually(hears)


def test_the_end_hands_the_log_over(play: Play) -> None:
    play.serves()
    play.node.stop()
    assert play.closed == 1
    assert play.app is None
    assert play.peers.announced[-1].role == "released"
    assert play.peers.announced[-1].sequence == play.log.end() + 1, "with what the end has appended"
    assert not any(each.is_alive() for each in play.node._threads)


def test_the_end_of_a_process_that_stands_by(play: Play) -> None:
    play.peers.connected_s = 0.0
    play.begin()
    play.node.stop()
    assert play.peers.announced[-1].role == "standing_by"
    assert play.epoch == 0


def test_a_lost_log_is_left_and_another_one_is_opened(play: Play) -> None:
    play.serves()
    play.log = play.log.opened_again()  # another process
    first = play.owned[0]
    with pytest.raises(LogLostError):
        first.broker.produce("default", ["x"])
    eventually(lambda: play.closed == 1)
    assert eventually(lambda: play.app == "app 2"), "there is nobody else"
    assert (play.node.fenced, play.node.takeovers) == (1, 2)
    assert play.node.append_retries == 4


def test_an_idle_owner_finds_out_that_it_is_deposed(play: Play) -> None:
    play.serves()
    play.log = play.log.opened_again()
    assert play.node.is_serving, "nothing has told it yet"
    play.peers.say("standing_by", 2)
    eventually(lambda: play.node.fenced == 1)


def test_a_newer_epoch_that_is_none_changes_nothing(play: Play) -> None:
    play.serves()
    play.peers.say("standing_by", 7)
    announced = len(play.peers.announced)
    eventually(lambda: len(play.peers.announced) > announced + 5)
    assert play.node.is_serving
    assert play.node.fenced == 0


def test_an_owner_of_a_full_log_opens_it_again_when_it_hears_of_a_newer_epoch(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.serves()

    def full() -> int:
        raise DiskFullError("no room")

    monkeypatch.setattr(play.log, "confirm", full)
    play.epoch = 2
    play.peers.say("standing_by", 2)
    eventually(lambda: play.closed == 1)
    assert eventually(lambda: play.app == "app 3")


def test_an_owner_without_a_connection_has_no_quorum(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "NO_QUORUM_S", 0.02)
    play.serves()
    play.peers.connected_s = 0.0
    eventually(lambda: not play.node.has_quorum)
    standing = play.node.standing()
    assert (standing.status, standing.message) == (
        "waiting_for_quorum",
        "NATS does not answer, so nothing can be stored.",
    )
    play.peers.connected_s = 5.0
    eventually(lambda: play.node.is_serving)


def test_a_failed_log_is_opened_again(play: Play) -> None:
    play.serves()
    play.log.is_broken = True
    with pytest.raises(LogFailedError):
        play.owned[0].broker.produce("default", ["x"])
    eventually(lambda: play.closed == 1)
    play.log.is_broken = False
    assert eventually(lambda: play.app == "app 2")
    assert play.node.fenced == 0


@pytest.mark.parametrize(
    "error", [LogFailedError("no answer"), OSError("no file"), LogClosedError("closed"), ValueError("a bug")]
)
def test_an_attempt_that_fails_is_repeated(play: Play, error: Exception) -> None:
    play.errors += [error, error]
    assert play.serves() == "app 3"


def test_a_log_that_is_lost_during_the_takeover(play: Play) -> None:
    play.errors.append(LogLostError("another one"))
    assert play.serves() == "app 2"
    assert play.node.fenced == 1


def test_a_damaged_log_is_left_to_a_person(play: Play) -> None:
    play.errors.append(CorruptLogError("stream S, message 7", 0, "it is missing"))
    play.begin()
    eventually(lambda: play.node._final)
    standing = play.node.standing()
    assert (standing.status, standing.code) == ("damaged", "log_damaged")
    assert "message 7" in standing.message
    assert "until a person has decided" in standing.message
    eventually(lambda: play.peers.announced and play.peers.announced[-1].role == "unable")
    eventually(lambda: not play.node._threads[0].is_alive())
    assert play.epoch == 1, "it never tries again"


def test_a_log_of_a_newer_program_is_left_to_newer_processes(play: Play) -> None:
    play.errors.append(UnsupportedFormatError("message 7 has version 2. Install a newer WonderQ."))
    play.begin()
    eventually(lambda: play.node._final)
    standing = play.node.standing()
    assert (standing.status, standing.code) == ("outdated", "standing_by")
    assert standing.message.endswith("Install a newer WonderQ.")
    eventually(lambda: not play.node._threads[0].is_alive())


def test_without_an_acknowledgement_for_two_seconds_there_is_no_quorum(play: Play) -> None:
    play.serves()
    log = play.owned[0].log
    assert isinstance(log, SharedMemoryLog)
    log.waiting_s = 2.0
    assert play.node.has_quorum
    log.waiting_s = 2.1
    assert not play.node.has_quorum
    assert not play.node.is_serving
    standing = play.node.standing()
    assert (standing.status, standing.code) == ("waiting_for_quorum", "no_quorum")
    log.waiting_s = 0.0
    assert play.node.is_serving, "it recovers by itself"


def test_what_a_stand_by_says_of_the_owner(play: Play) -> None:
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.005):
            play.peers.say("owner", 99)

    play.peers.listen(play.node.member.hear)
    talking = threading.Thread(target=talk)
    talking.start()
    eventually(lambda: play.node.member.epoch == 99)
    play.begin()
    try:
        eventually(lambda: play.node.standing().owner == "other:1" and play.node.member.has_read)
        standing = play.node.standing()
    finally:
        stop.set()
        talking.join()
    assert (standing.status, standing.code) == ("standing_by", "standing_by")
    assert standing.message == "This process stands by. other:1 owns the log: send requests there."


def test_a_stand_by_that_has_not_read_the_log_says_so(play: Play) -> None:
    play.peers.listen(play.node.member.hear)
    standing = play.node.standing()
    assert (standing.status, standing.code) == ("waiting_for_quorum", "no_quorum")
    play.node.seen = Seen()
    standing = play.node.standing()
    assert (standing.status, standing.code) == ("reading", "standing_by")
    play.peers.say("owner", 99)
    standing = play.node.standing()
    assert (standing.status, standing.code, standing.owner) == ("reading", "standing_by", "other:1")
    assert standing.message == (
        "This process still reads the log, and cannot take over yet. other:1 owns the log: send requests there."
    )


def test_without_nats_nobody_owns_the_log(play: Play) -> None:
    play.peers.connected_s = 0.0
    play.begin()
    standing = play.node.standing()
    assert (standing.status, standing.code, standing.owner) == ("waiting_for_quorum", "no_quorum", None)
    assert not play.node.is_connected
    play.peers.connected_s = 100.0
    play.serves()


def test_a_wrong_clock_is_said(play: Play) -> None:
    play.peers.seen = Seen(clock_ahead_ms=900)
    play.begin()
    eventually(lambda: play.node.seen)
    standing = play.node.standing()
    assert "0.9 s ahead of the others" in standing.message
    assert len(standing.warnings) == 1
    assert play.epoch == 0
    play.peers.seen = Seen()
    play.serves()


def test_the_end_answers_the_consumers_that_wait(play: Play) -> None:
    play.node.stop_claiming()  # without a broker
    play.serves()
    play.node.stop_claiming()
    assert play.owned[0].broker.core.stopping
