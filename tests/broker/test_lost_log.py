"""A log that another writer takes over ends its broker, not the process: everybody is told, and another broker goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import another_receipt
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.model.errors import StaleReceiptError
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, Target
from wonderq.runtime.fibers import Hub
from wonderq_storage import LogLostError, Mark, Position

QUEUE = "default"

#: Longer than a test waits for its result.
LONG_S = 4 * PATIENCE_S


class Owner:
    """A broker on a log that another process can take over."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog(shared=True)
        self.broker = Broker(self.log, clock=FakeClock(), limits=Limits(wait_s=LONG_S))

    def successor(self) -> Owner:
        """Take the log over. The first owner has not learned of it."""
        return Owner(self.log.opened_again())


@pytest.fixture
def owner() -> Owner:
    return Owner()


def bodies(broker: Broker) -> list[str]:
    return [message.body for message in broker.messages(QUEUE)]


def waiting(owner: Owner, count: int) -> list[Call[list[Message]]]:
    calls = [Call(owner.broker.claim, QUEUE, wait_s=LONG_S) for _ in range(count)]
    eventually(lambda: owner.broker.waiting_consumers == count)
    return calls


def find_out(owner: Owner) -> None:
    with pytest.raises(LogLostError):
        owner.broker.queue(QUEUE)


def test_whoever_waits_for_a_message_is_told_at_once(owner: Owner) -> None:
    calls = waiting(owner, 5)
    owner.successor()
    assert not any(call.done for call in calls)
    find_out(owner)
    for call in calls:
        with pytest.raises(LogLostError, match="Another writer has taken over the log"):
            call.result()
    assert owner.broker.waiting_consumers == 0


def test_fibers_that_wait_for_a_message_are_told_at_once(owner: Owner) -> None:
    hub = Hub(lambda: None)
    told: list[LogLostError] = []

    def consume() -> None:
        try:
            owner.broker.claim(QUEUE, wait_s=LONG_S)
        except LogLostError as error:
            told.append(error)

    for _ in range(5):
        hub.spawn(consume)
    hub.run()
    assert owner.broker.waiting_consumers == 5
    owner.successor()
    find_out(owner)
    eventually(lambda: hub.run() or len(told) == 5)


def test_whoever_waits_for_a_sync_is_told_and_nothing_of_it_is_kept(owner: Owner) -> None:
    owner.broker.produce(QUEUE, ["kept"])
    owner.log.hold()
    calls = [Call(owner.broker.produce, QUEUE, [f"late {number}"]) for number in range(5)]
    eventually(lambda: owner.log.blocked == 5)
    successor = owner.successor()
    owner.log.release()
    for call in calls:
        with pytest.raises(LogLostError):
            call.result()
    assert bodies(successor.broker) == ["kept"]


@pytest.mark.parametrize(
    "act",
    [
        lambda broker: broker.claim(QUEUE),
        lambda broker: broker.claim(QUEUE, wait_s=LONG_S),
        lambda broker: broker.produce(QUEUE, ["x"]),
        lambda broker: broker.upkeep(),
        lambda broker: list(broker.queues()),
    ],
)
def test_a_broker_that_has_lost_its_log_refuses_everything(owner: Owner, act: Callable[[Broker], object]) -> None:
    owner.successor()
    find_out(owner)
    with pytest.raises(LogLostError):
        act(owner.broker)
    assert owner.broker.unready == "Another writer has taken over the log."
    assert not owner.broker.is_damaged
    assert [each.name for each in owner.broker.queue_stats()] == [QUEUE], "for monitoring"


def test_the_process_goes_on_with_another_broker(owner: Owner) -> None:
    owner.broker.produce(QUEUE, ["first"])
    [claimed] = owner.broker.claim(QUEUE)
    successor = owner.successor()
    find_out(owner)
    owner.broker.close()
    with pytest.raises(StaleReceiptError):
        successor.broker.delete(QUEUE, Target(receipt=another_receipt(claimed.receipt or "")))
    successor.broker.delete(QUEUE, Target(receipt=claimed.receipt))
    successor.broker.produce(QUEUE, ["second"])
    assert bodies(successor.broker) == ["second"]
    third = successor.successor()
    find_out(successor)
    assert bodies(third.broker) == ["second"]
    for each in (successor, third):
        each.broker.close()


class NoCheckpoints:
    """Remembers which checkpoints were to be written."""

    def __init__(self) -> None:
        self.written: list[Mark] = []

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        self.written.append(mark)
        return sum(map(len, chunks))

    def prove(self, mark: Mark) -> None:
        pass

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        return iter(())

    def remove_unfinished(self) -> None:
        pass


def test_its_background_work_ends_and_writes_no_checkpoint(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory may hold changes that are in no log: a checkpoint would bring them back."""
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 0)
    checkpoints = NoCheckpoints()
    housekeeper = Housekeeper(owner.broker, tick_s=0.003)
    upkeep = LogMaintenance(owner.broker, owner.log, checkpoints, slack_bytes=1 << 20, tick_s=0.003)
    housekeeper.start()
    upkeep.start()
    owner.broker.produce(QUEUE, ["x"])
    owner.successor()
    find_out(owner)
    eventually(lambda: not housekeeper._thread.is_alive())
    housekeeper.stop()
    upkeep.stop()
    owner.broker.close()
    assert checkpoints.written == []


def test_background_work_that_has_nothing_to_do_ends_too(owner: Owner) -> None:
    housekeeper = Housekeeper(owner.broker, tick_s=0.003)
    upkeep = LogMaintenance(owner.broker, owner.log, NoCheckpoints(), slack_bytes=1 << 20, tick_s=0.003)
    owner.broker.produce(QUEUE, ["x"])
    for _ in range(2):  # the second time, nothing has been appended since
        housekeeper.turn()
        upkeep.turn()
    owner.successor()
    find_out(owner)
    housekeeper.start()
    upkeep.start()
    eventually(lambda: not housekeeper._thread.is_alive() and not upkeep._thread.is_alive())
    owner.broker.close()


def test_what_the_new_owner_dropped_is_no_damage(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of a message is gone from the log when the former owner reads it: the new one has compacted the log."""
    [message_id] = owner.broker.produce(QUEUE, ["x"])
    read = owner.log.read

    def read_late(spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        owner.log.opened_again()
        owner.log.trim(owner.log.end())
        return read(spans, block=block)

    monkeypatch.setattr(owner.log, "read", read_late)
    with pytest.raises(LogLostError):
        owner.broker.get(QUEUE, message_id)
    assert not owner.broker.is_damaged
    owner.broker.mark_damaged("a stream", 1, "what is read after that may be of the new owner")
    with pytest.raises(LogLostError):
        owner.broker.get(QUEUE, message_id)
    assert not owner.broker.is_damaged
