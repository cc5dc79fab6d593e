"""The life of one shard on one node, on a log in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.scripted_peers import LOG_ID
from tests.support.shared_memory_log import SharedMemoryLog
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.cluster import shard as shard_module
from wonderq.cluster.announcements import OfShard
from wonderq.cluster.shard import OwnedShard, Shard
from wonderq.cluster.steward import Own
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogFailedError,
    LogLostError,
    LogMovedError,
    Reached,
    UnsupportedFormatError,
)


class Play:
    """A shard, what its node knows, and the log that it is on."""

    def __init__(self) -> None:
        self.sequence = 0
        """Newest message that other nodes have told of."""
        self.log_id = LOG_ID.hex()
        self.events: list[str] = []
        self.errors: list[Exception] = []
        """Errors of the next attempts, when the log was read."""
        self.found: list[bytes | None] = []
        """Logs that the next readings find; then the right one."""
        self.read: list[int] = []
        """Sequences up to which the log was read."""
        self.epoch = 0
        self.log = MemoryLog(shared=True)
        self.owned: list[OwnedShard] = []
        self.closed = 0
        self.shard = Shard(3, self, self.own)

    # The memory of the node

    def known_sequence(self, shard: int, log_id: str) -> int:
        assert (shard, log_id) == (3, LOG_ID.hex())
        return self.sequence

    def known_log(self, shard: int) -> tuple[str, int]:
        return self.log_id, self.sequence

    def know_epoch(self, shard: int, epoch: int) -> None:
        pass

    def lost(self, shard: int) -> None:
        self.events.append("lost")

    def released(self, shard: int, epoch: int, log_id: str, sequence: int) -> None:
        self.events.append(f"released {epoch}, {self.closed} closed")

    def phase_changed(self, shard: int) -> None:
        pass

    @contextmanager
    def own(self, shard: Shard) -> Iterator[OwnedShard]:
        if self.errors:
            raise self.errors.pop(0)
        sequence: int | None = 0
        while sequence is not None:
            self.read.append(sequence)
            log_id = self.found.pop(0) if self.found else LOG_ID
            try:
                sequence = shard.wait(Reached(log_id, self.epoch, sequence))
            except LogMovedError:
                sequence = 0  # as the replay of a broker does
        self.epoch += 1
        shard.claimed(self.epoch)
        self.log = self.log.opened_again() if self.owned else self.log
        log = SharedMemoryLog(self.log, self.epoch)
        broker = Broker(log)
        self.owned.append(OwnedShard(broker, log, []))
        try:
            yield self.owned[-1]
        finally:
            broker.close()
            self.closed += 1

    def await_phase(self, phase: str) -> None:
        eventually(lambda: self.shard.own.phase == phase, f"the phase {phase}, not {self.shard.own}")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    for name in ("_SHORTEST_PAUSE_S", "_LONGEST_PAUSE_S", "_FAILURE_PAUSE_S"):
        monkeypatch.setattr(shard_module, name, 0.01)
    play = Play()
    yield play
    play.shard.leave()
    play.shard.join(10)
    assert play.closed == len(play.owned)


def own(play: Play) -> None:
    def take() -> bool:
        play.shard.take()
        return play.shard.own.phase == "owned"

    eventually(take)


def depose(play: Play) -> None:
    """Let another node take the shard."""
    Broker(play.log.opened_again()).close()


def test_a_shard_that_may_be_taken_is_read_and_served(play: Play) -> None:
    assert play.shard.own == Own()
    assert play.shard.announcement() is None
    play.shard.take()
    play.await_phase("owned")
    assert play.shard.own == Own("owned", 1)
    assert play.shard.owned is play.owned[0]
    said = play.shard.announcement()
    assert said is not None
    assert said._replace(sequence=0) == OfShard("owner", 1, LOG_ID.hex(), 0)
    assert said.sequence > 0
    assert play.shard.takeovers == 1
    assert play.shard.takeover_s is not None


def test_a_shard_that_is_only_read_waits_until_it_may_be_taken(play: Play) -> None:
    play.shard.read()
    play.await_phase("warm")
    assert play.owned == []
    play.sequence = 7
    eventually(lambda: 7 in play.read, "what the owner tells to be read")
    play.await_phase("warm")
    play.shard.take()
    play.await_phase("owned")


def test_a_shard_that_another_node_owns_is_read_no_more(play: Play) -> None:
    play.shard.read()
    play.await_phase("warm")
    play.shard.leave()
    play.await_phase("none")
    play.shard.read()
    play.await_phase("warm")
    assert play.shard.trouble is None


def test_a_shard_that_is_released_is_closed_before_the_others_hear_of_it(play: Play) -> None:
    own(play)
    play.shard.leave()
    eventually(lambda: play.events, "the release")
    play.await_phase("none")
    assert play.events == ["released 1, 1 closed"], "nobody may be told before the log is closed"
    assert play.shard.owned is None
    said = play.shard.announcement()
    assert said is not None
    assert (said.role, said.epoch) == ("released", 1)
    own(play)
    assert play.shard.own.epoch == 2


def test_a_shard_that_is_lost_is_dropped(play: Play) -> None:
    own(play)
    depose(play)
    with pytest.raises(LogLostError):
        play.owned[0].broker.core.confirm()
    play.await_phase("none")
    assert play.events == ["lost"]
    assert play.shard.fenced == 1
    assert play.shard.owned is None
    assert play.shard.announcement() is None, "it is not the owner any more, and has released nothing"


def test_an_idle_owner_that_was_deposed_learns_of_it(play: Play) -> None:
    own(play)
    depose(play)
    play.shard.confirm()
    play.await_phase("none")
    assert play.shard.fenced == 1


def test_a_deposed_owner_whose_log_is_full_ends(play: Play) -> None:
    """Nothing can be confirmed, so only opening the log again shows whose it is."""
    own(play)

    def confirm() -> int:
        raise DiskFullError("the stream has no room")

    play.log.confirm = confirm  # type: ignore[method-assign]
    play.shard.confirm()
    play.await_phase("none")
    assert play.shard.owned is None
    assert play.shard.announcement() is None, "it does not say that it has released a shard that another node owns"
    assert play.shard.trouble is not None
    assert "is full" in play.shard.trouble
    assert play.events == []


def test_an_owner_that_was_not_deposed_goes_on(play: Play) -> None:
    own(play)
    confirmed: list[int] = []
    confirm = play.log.confirm

    def count() -> int:
        confirmed.append(1)
        return confirm()

    play.log.confirm = count  # type: ignore[method-assign]
    play.shard.confirm()
    eventually(lambda: confirmed)
    assert play.shard.own.phase == "owned"


def test_a_log_that_cannot_be_read_ends_all_attempts(play: Play) -> None:
    error = CorruptLogError("stream x", 3, "bad")
    play.errors.append(error)
    play.shard.take()
    play.await_phase("damaged")
    assert str(error) in str(play.shard.trouble)
    play.shard.take()
    assert play.shard.own.phase == "damaged"
    said = play.shard.announcement()
    assert said is not None
    assert said.role == "damaged"


def test_a_log_of_a_newer_version_is_left_to_newer_nodes(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """It is whole, so no person has to decide anything."""
    play.errors.append(UnsupportedFormatError("message 7 has version 9. Install a newer WonderQ."))
    play.shard.take()
    play.await_phase("outdated")
    play.shard.take()
    assert play.shard.own.phase == "outdated", "only another program could read it"
    assert play.shard.announcement() is None
    trouble = "This node is too old for the shard: message 7 has version 9. Install a newer WonderQ."
    assert play.shard.trouble == trouble
    assert [each.levelname for each in caplog.records if trouble in each.getMessage()] == ["ERROR"]
    assert "until a person has decided" not in caplog.text


def test_damage_that_the_broker_finds_ends_the_shard(play: Play) -> None:
    own(play)
    play.owned[0].broker.mark_damaged("stream x", 3, "bad")
    play.shard.look_after()
    play.await_phase("damaged")
    assert "bad" in str(play.shard.trouble)
    assert play.shard.owned is None
    assert play.closed == 1


def test_a_log_that_is_not_the_one_that_others_know_is_damage(play: Play) -> None:
    play.log_id, play.sequence = "0123", 17
    play.shard.take()
    play.await_phase("damaged")
    assert "0123 was here, with 17 acknowledged messages, and it is gone" in str(play.shard.trouble)
    assert play.owned == []


def test_a_log_that_another_node_begins_just_now_is_read_again(play: Play) -> None:
    """All nodes of a new cluster look at the empty logs at the same moment."""
    play.found = [None]
    own(play)
    assert play.read == [0, 0]
    assert play.shard.trouble is None


def test_a_log_that_stays_empty_is_damage(play: Play) -> None:
    play.sequence = 17
    play.found = [None, None]
    play.shard.take()
    play.await_phase("damaged")
    assert "was here, with 17 acknowledged messages, and it is gone" in str(play.shard.trouble)
    assert play.owned == []


@pytest.mark.parametrize("error", [LogFailedError("no answer"), OSError("no disk"), ValueError("a bug")])
def test_another_error_is_passed_over_after_a_pause(play: Play, error: Exception) -> None:
    play.errors.append(error)
    play.shard.take()
    eventually(lambda: play.shard.trouble == str(error))
    own(play)
    assert play.shard.trouble is None


def test_a_node_that_was_not_fast_enough_has_lost_nothing(play: Play) -> None:
    play.errors.append(LogLostError("faster"))
    play.shard.take()
    eventually(lambda: play.errors == [] and play.shard.own.phase == "none")
    assert play.events == []
    assert play.shard.fenced == 0


def test_a_log_that_fails_ends_the_broker(play: Play) -> None:
    own(play)
    play.log.is_broken = True
    with pytest.raises(LogFailedError):
        play.owned[0].broker.put_queue("x")
    play.shard.look_after()
    eventually(lambda: play.shard.trouble is not None)
    assert play.events == []
    play.log.is_broken = False
    own(play)
