"""Many dead letters leave in portions, ahead of need, and are in nobody's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.python_calls import calls_of
from tests.support.states import contents_of
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker import claims, polls, transfers
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.reader import LoadedMessage, Reader
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.status import CLAIMED
from wonderq.state import record
from wonderq.state.columns import Columns
from wonderq.state.page import SPENT, Page
from wonderq.state.state import State

TIMEOUT_MS = 10_000

#: Sizes of portions in these tests: of messages to set aside, and of messages to move.
ASIDE, MOVED = 7, 4


class World:
    """A broker whose queue ``q`` starts with dead letters; what is held under its lock is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(claims, "_SPENT_PORTION", ASIDE)
        monkeypatch.setattr(claims, "PORTION_MESSAGES", MOVED)
        monkeypatch.setattr(polls, "PORTION_MESSAGES", MOVED)
        monkeypatch.setattr(transfers, "PORTION_MESSAGES", MOVED)
        self.clock = FakeClock()
        self.log = MemoryLog()
        self.cuts: list[int] = []
        append = self.log.append_together

        def noted(*args: Any, **more: Any) -> Any:
            positions = append(*args, **more)
            self.cuts.append(len(self.log.records))
            return positions

        self.log.append_together = noted  # type: ignore[method-assign]
        self.broker = Broker(self.log, clock=self.clock)

    def die(self, messages: list[NewMessage], queue: str = "q", dead: str = "dead") -> None:
        """Let messages be claimed as often as may be."""
        self.broker.put_queue(queue, max_receives=1, dead_letter_queue=dead)
        self.broker.send(queue, messages)
        while self.broker.claim(queue, limit=1000, visibility_timeout_ms=TIMEOUT_MS):
            pass
        self.clock.ms += TIMEOUT_MS

    def bodies(self, queue: str) -> list[str]:
        return (
            [message.body for message in self.broker.messages(queue)] if queue in self.broker.core.state.queues else []
        )

    def take(self, limit: int = 1, queue: str = "q") -> list[str]:
        return [message.body for message in self.broker.claim(queue, limit=limit, visibility_timeout_ms=TIMEOUT_MS)]

    def keep_house(self) -> None:
        while self.broker.remove_dead_letters():
            pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


KINDS: dict[str, tuple[str, str, Callable[[int], dict[str, Any]]]] = {
    "plain": ("q", "dead", lambda n: {}),
    "buried": ("q", "", lambda n: {}),
    "priorities": ("q", "dead", lambda n: {"priority": n % 10}),
    "groups": ("q", "dead", lambda n: {"group": f"g{n % 13}"}),
    "FIFO": ("q.fifo", "dead.fifo", lambda n: {"group": f"g{n}"}),
}


def poison(count: int, fields: Callable[[int], dict[str, Any]]) -> list[NewMessage]:
    return [NewMessage(str(n), **fields(n)) for n in range(count)]


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_message_behind_many_is_given_at_once(world: World, kind: str, limit: int) -> None:
    queue, dead, fields = KINDS[kind]
    world.die(poison(100, fields), queue, dead)
    world.broker.send(queue, [NewMessage("healthy", group="healthy" if queue != "q" or kind == "groups" else "")])
    assert world.take(limit, queue) == ["healthy"]
    gone = len(world.bodies(dead)) if dead else world.broker.count(queue, "buried")
    assert 0 < gone <= MOVED, "the consumer has moved a portion, and no more"
    world.keep_house()
    if dead:
        assert sorted(map(int, world.bodies(dead))) == list(range(100))
        assert world.bodies(queue) == ["healthy"]
    else:
        assert (world.broker.count(queue, "buried"), world.broker.count(queue, "unprocessed")) == (100, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lock_is_held_for_a_portion_at_a_time(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, dead, fields = KINDS[kind]
    world.die(poison(100, fields), queue, dead)
    held = most = 0
    acquire = world.broker.core.transaction.__class__.__enter__
    set_status = Columns._set_status

    def entered(transaction: Any) -> int:
        nonlocal held
        held = 0
        return acquire(transaction)

    def counted(columns: Columns, page: Page, index: int, status: int) -> None:
        nonlocal held, most
        held += status == SPENT
        most = max(most, held)
        set_status(columns, page, index, status)

    monkeypatch.setattr(world.broker.core.transaction.__class__, "__enter__", entered)
    monkeypatch.setattr(Columns, "_set_status", counted)
    assert world.take(3, queue) == []
    world.keep_house()
    assert 0 < most <= ASIDE


#: Calls for each dead letter. A group has up to ten lanes, one for each priority, and the end of a claim looks at all of
#: them.
MOST_CALLS = {"plain": 13, "buried": 13, "priorities": 95, "groups": 6, "FIFO": 50}


@pytest.mark.parametrize("kind", KINDS)
def test_the_work_for_each_of_them_is_bounded(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in calls of functions: about 0.2 microseconds each. A healthy message waits for all of them."""
    queue, dead, fields = KINDS[kind]
    monkeypatch.setattr(claims, "_SPENT_PORTION", 100)

    def calls(count: int) -> int:
        world.die(poison(count, fields), queue, dead)
        world.broker.send(queue, [NewMessage("healthy", group="healthy" if queue != "q" or kind == "groups" else "")])
        taken: list[str] = []
        made = calls_of(lambda: taken.extend(world.take(1, queue)))
        assert taken == ["healthy"]
        world.keep_house()
        world.broker.purge(queue)
        return made

    few, many = calls(100), calls(500)
    assert (many - few) / 400 < MOST_CALLS[kind]


def test_one_search_finds_the_heads_of_all_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy message behind a dead letter of its group does not end the search, and waits until that has left."""
    monkeypatch.setattr(claims, "_SPENT_PORTION", 100)
    world.die(poison(20, lambda n: {"group": f"g{n}"}), "q.fifo", "dead.fifo")
    world.broker.send("q.fifo", [NewMessage(f"follower {n}", group=f"g{n}") for n in range(20)])
    world.broker.send("q.fifo", [NewMessage("healthy", group="healthy")])
    search = Columns.set_aside_next
    found: list[int] = []
    monkeypatch.setattr(
        Columns, "set_aside_next", lambda *args: (aside := search(*args), found.append(len(aside)), aside)[0]
    )
    assert len(world.take(1, "q.fifo")) == 1
    assert found == [20]


def test_many_of_one_group_are_found_in_one_search(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_SPENT_PORTION", 100)
    world.die(poison(20, lambda _: {"group": "g"}), "q.fifo", "dead.fifo")
    assert world.take(1, "q.fifo") == []
    assert world.broker.core.state.queues["q.fifo"].messages.spent == 20 - MOVED


@pytest.mark.parametrize("most", [1, 3])
def test_those_that_the_rate_of_their_group_holds_back_are_not_given_out(world: World, most: int) -> None:
    """The search for dead letters is in the order in which messages are given out, with the rates."""
    world.die(poison(10, lambda _: {"group": "a"}))
    world.broker.put_queue("q", max_claims_per_second_per_group=1)
    world.broker.send("q", [NewMessage(f"b{n}", group="b") for n in range(3)])
    assert world.take(most) == ["b0"]
    world.keep_house()
    assert world.take(most) == []
    assert world.bodies("dead") == [str(n) for n in range(10)]


def test_in_a_group_that_is_in_order_nothing_overtakes_them(world: World) -> None:
    world.die([NewMessage(str(n), group="g") for n in range(30)], "q.fifo", "dead.fifo")
    world.broker.send("q.fifo", [NewMessage("follower", group="g"), NewMessage("other", group="h")])
    assert world.take(1, "q.fifo") == ["other"]
    while (got := world.take(1, "q.fifo")) == []:
        world.broker.remove_dead_letters()
    assert got == ["follower"]
    assert world.bodies("dead.fifo") == [str(n) for n in range(30)]


def test_whoever_waits_for_a_group_is_woken_when_its_head_has_left(world: World, woken_only: None) -> None:
    world.die([NewMessage(str(n), group="g") for n in range(2 * MOVED)], "q.fifo", "")
    world.broker.send("q.fifo", [NewMessage("follower", group="g")])
    waiting = Call(world.broker.claim, "q.fifo", wait_s=20)
    eventually(lambda: world.broker.waiting_consumers == 1)
    world.keep_house()
    assert [message.body for message in waiting.result()] == ["follower"]


@pytest.mark.parametrize("kind", ["plain", "FIFO"])
def test_a_crash_between_two_portions_loses_and_doubles_nothing(world: World, kind: str) -> None:
    queue, dead, fields = KINDS[kind]
    world.die(poison(3 * MOVED, fields), queue, dead)
    first = len(world.cuts)
    world.take(1, queue)
    world.keep_house()
    assert len(world.cuts) - first >= 3
    for cut in world.cuts[first - 1 :]:
        again = Broker(MemoryLog(world.log.records[:cut]), clock=world.clock)
        names = [name for name in (queue, dead) if name in again.core.state.queues]
        bodies = [message.body for name in names for message in again.messages(name)]
        assert sorted(map(int, bodies)) == list(range(3 * MOVED))
        assert again.claim(queue, visibility_timeout_ms=0) == []
        while again.remove_dead_letters():
            pass
        assert sorted(int(message.body) for message in again.messages(dead)) == list(range(3 * MOVED))


def test_no_consumer_is_needed(world: World) -> None:
    world.die(poison(10, lambda _: {}))
    housekeeper = Housekeeper(world.broker)
    for _ in range(4):
        housekeeper.turn()
    assert world.bodies("dead") == [str(n) for n in range(10)]


def test_a_queue_without_changes_is_not_searched_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    world.broker.produce("q", ["healthy"])
    searched = []
    search = Columns.set_aside_next
    monkeypatch.setattr(Columns, "set_aside_next", lambda *args: (searched.append(args), search(*args))[1])
    for _ in range(5):
        world.keep_house()
    assert len(searched) == 1
    world.broker.produce("q", ["another"])
    world.keep_house()
    assert len(searched) == 2


def test_those_behind_a_healthy_message_wait_for_their_turn(world: World) -> None:
    world.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    world.broker.produce("q", ["healthy", "poison"])
    first, poison = world.broker.claim("q", visibility_timeout_ms=TIMEOUT_MS)
    world.broker.update("q", Target(receipt=poison.receipt), Change(visibility_timeout_ms=0))
    world.broker.put_queue("q", max_receives=0)
    world.broker.update("q", Target(receipt=first.receipt), Change(bury=True))
    world.broker.kick("q", 1)
    world.broker.put_queue("q", max_receives=1)
    world.keep_house()
    assert world.bodies("q") == ["healthy", "poison"]
    assert world.take(2) == ["healthy"]
    assert world.bodies("dead") == ["poison"]


def test_a_paused_queue_keeps_them(world: World) -> None:
    world.die(poison(10, lambda _: {}))
    world.broker.put_queue("q", paused=True)
    world.keep_house()
    assert world.take() == []
    assert len(world.bodies("q")) == 10
    world.broker.put_queue("q", paused=False)
    world.keep_house()
    assert world.bodies("q") == []


# While they are set aside


@pytest.fixture(params=["plain", "groups", "FIFO"])
def aside(world: World, request: pytest.FixtureRequest) -> World:
    """A queue of 30 dead letters, of which a portion has left and the others are set aside."""
    queue, dead, fields = KINDS[request.param]
    world.die(poison(30, fields), "q.fifo" if queue == "q.fifo" else "q", dead)
    world.name, world.dead = queue, dead  # type: ignore[attr-defined]
    assert world.take(1, queue) == []
    assert world.broker.core.state.queues[queue].messages.spent == len(world.bodies(queue)) > MOVED
    return world


def queue_of(world: World) -> tuple[str, Columns]:
    name: str = world.name  # type: ignore[attr-defined]
    return name, world.broker.core.state.queues[name].messages


@pytest.mark.parametrize("receives", [0, 2])
def test_they_are_given_again_at_once_if_they_may_be_tried_more(aside: World, receives: int) -> None:
    name, messages = queue_of(aside)
    left = aside.bodies(name)
    aside.broker.put_queue(name, max_receives=receives)
    got: list[str] = []
    while more := aside.take(1000, name):
        got += more
        for message in list(aside.broker.messages(name)):
            if message.body in more:
                aside.broker.delete(name, Target(id=message.id))
    assert sorted(got) == sorted(left)
    assert messages.spent == 0
    assert not any(messages.counts[1:])


@pytest.mark.parametrize("receives", [0, 2])
def test_they_are_given_back_without_a_consumer_too(aside: World, receives: int) -> None:
    name, messages = queue_of(aside)
    left = aside.bodies(name)
    assert len(left) > ASIDE, "they are put back in several portions"
    aside.broker.put_queue(name, max_receives=receives)
    for _ in range(30):
        aside.broker.remove_dead_letters()
    assert messages.spent == 0
    assert messages.available == len(messages)
    assert aside.bodies(name) == left


def test_a_lower_limit_counts_without_a_consumer_too(world: World) -> None:
    world.broker.put_queue("q", max_receives=2, dead_letter_queue="dead")
    world.broker.produce("q", ["x"])
    world.broker.claim("q", visibility_timeout_ms=0)
    world.keep_house()
    assert world.bodies("dead") == []
    world.broker.put_queue("q", max_receives=1)
    world.keep_house()
    assert world.bodies("dead") == ["x"]


def test_they_look_like_all_that_wait(aside: World) -> None:
    name, _ = queue_of(aside)
    left = aside.bodies(name)
    assert aside.broker.count(name, "unprocessed") == len(left)
    assert [message.body for message in aside.broker.messages(name, status="unprocessed")] == left
    assert {message.status for message in aside.broker.messages(name)} == {"unprocessed"}


def test_a_checkpoint_has_them_as_a_start_finds_them(aside: World) -> None:
    name, messages = queue_of(aside)
    snapshot = aside.broker.core.state.freeze()
    loaded = State.load(iter(list(snapshot.chunks(0))))
    snapshot.release()
    now_ms = aside.clock.ms
    assert messages.spent
    assert loaded.queues[name].messages.spent == 0
    assert contents_of(loaded, now_ms)["queues"][name][3]["counts"] == messages.counts
    replayed = Broker(MemoryLog(aside.log.records), clock=aside.clock)
    assert contents_of(aside.broker.core.state, now_ms)["sums"] == contents_of(replayed.core.state, now_ms)["sums"]
    assert next_of(loaded, name) == next_of(replayed.core.state, name)


def next_of(state: State, name: str) -> list[int]:
    return sorted(record.from_runs(state.queues[name].messages.pick(1000, 1 << 30)))


CHANGES: dict[str, Callable[[World, str], object]] = {
    "deleted late": lambda world, name: [
        world.broker.delete(name, Target(id=each.id)) for each in list(world.broker.messages(name))
    ],
    "purged": lambda world, name: world.broker.purge(name),
    "buried": lambda world, name: [
        world.broker.update(name, Target(id=each.id), Change(bury=True)) for each in list(world.broker.messages(name))
    ],
    "rewritten": lambda world, name: [
        world.broker.update(name, Target(id=each.id), Change(body="new")) for each in list(world.broker.messages(name))
    ],
    "delayed": lambda world, name: [
        world.broker.update(name, Target(id=each.id), Change(delay_ms=5)) for each in list(world.broker.messages(name))
    ],
    "redriven": lambda world, name: (
        world.broker.put_queue("elsewhere"),
        world.broker.redrives.start(name, "elsewhere"),
        world.broker.redrives.run(),
    ),
    "dropped": lambda world, name: world.broker.drop_queue(name),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_them_meanwhile_counts(aside: World, change: str) -> None:
    name, messages = queue_of(aside)
    CHANGES[change](aside, name)
    if change == "dropped":
        aside.keep_house()
        return
    left = {"buried": "buried", "rewritten": "unprocessed", "delayed": "delayed"}.get(change)
    assert messages.spent == 0
    assert all(count >= 0 for count in messages.counts)
    everything = list(aside.broker.messages(name))
    assert {message.status for message in everything} == ({left} if left else set())
    if name == "q.fifo" and not everything:
        aside.broker.send(name, [NewMessage("next", group="g29")])
        assert aside.take(1, name) == ["next"], "its group is free"


def test_a_receipt_that_comes_late_still_deletes(world: World) -> None:
    world.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    world.broker.produce("q", [str(n) for n in range(3 * MOVED)])
    claimed = world.broker.claim("q", limit=1000, visibility_timeout_ms=TIMEOUT_MS)
    world.clock.ms += TIMEOUT_MS
    assert world.take() == []
    last = claimed[-1]
    world.broker.delete("q", Target(receipt=last.receipt))
    world.keep_house()
    assert last.body not in world.bodies("dead")
    assert len(world.bodies("dead")) == 3 * MOVED - 1


def test_the_limit_of_messages_in_flight_is_not_the_reason_for_nothing(world: World) -> None:
    """Only dead letters wait beside the one that is in flight, so the answer is empty, and no refusal."""
    world.die(poison(20, lambda _: {}))
    world.broker.produce("q", ["healthy"])
    world.broker.put_queue("q", max_in_flight=1)
    assert world.take() == ["healthy"]
    assert world.take() == []


def test_one_that_comes_after_another_of_its_group_stays_behind_it(world: World) -> None:
    """Its turn has come once those before it are gone. So the dead letters of a group are in its order, too."""
    world.broker.put_queue("q.fifo", max_receives=2, dead_letter_queue="dead.fifo")
    world.broker.produce("q.fifo", ["first", "second", "third"])
    first, _ = world.broker.claim("q.fifo", limit=2, visibility_timeout_ms=TIMEOUT_MS)
    world.broker.update("q.fifo", Target(receipt=first.receipt), Change(visibility_timeout_ms=0, uncounted=True))
    world.clock.ms += TIMEOUT_MS
    assert world.take(2, "q.fifo") == ["first", "second"]
    world.clock.ms += TIMEOUT_MS
    world.keep_house()
    assert world.take(3, "q.fifo") == ["first"], "the second was tried twice, and the first has one try left"
    world.keep_house()
    assert (world.bodies("dead.fifo"), world.take(3, "q.fifo")) == ([], [])
    world.clock.ms += TIMEOUT_MS
    assert world.take(3, "q.fifo") == ["third"]
    assert world.bodies("dead.fifo") == ["first", "second"]


@given(
    st.lists(st.sampled_from(["claim", "claim one", "release", "undo", "time", "keep house"]), max_size=60), st.data()
)
def test_the_dead_letters_of_a_group_are_in_its_order(operations: list[str], data: st.DataObject) -> None:
    clock = FakeClock()
    broker = Broker(MemoryLog(), clock=clock)
    broker.put_queue("q.fifo", max_receives=2, dead_letter_queue="dead.fifo")
    broker.send("q.fifo", [NewMessage(f"{group}{n}", group=group) for n in range(6) for group in "ab"])
    held: list[str] = []
    for operation in operations:
        if operation.startswith("claim"):
            claimed = broker.claim("q.fifo", limit=1 if operation == "claim one" else 4, visibility_timeout_ms=10)
            held += [each.receipt for each in claimed if each.receipt is not None]
        elif operation == "time":
            clock.ms += 10
        elif operation == "keep house":
            broker.remove_dead_letters()
        elif held:
            receipt = held.pop(data.draw(st.integers(0, len(held) - 1)))
            change = Change(visibility_timeout_ms=0, uncounted=operation == "undo")
            broker.update_batch("q.fifo", [(Target(receipt=receipt), change)])
    for _ in range(3 * 12):
        clock.ms += 10
        broker.claim("q.fifo", limit=4, visibility_timeout_ms=10)
    dead = [each.body for each in broker.messages("dead.fifo")]
    assert len(dead) == 12
    assert sorted(dead, key=lambda body: body[0]) == sorted(dead)


CHANGED: dict[str, Change] = {
    "rewritten": Change(body="5"),
    "delayed": Change(delay_ms=5),
    "released": Change(delay_ms=0),
}


def change_one(world: World, change: Change) -> None:
    """Change the message 5 of a FIFO queue whose dead letters wait for their turn to leave."""
    fifth = next(each for each in world.broker.messages("q.fifo") if each.body == "5")
    world.broker.update("q.fifo", Target(id=fifth.id), change)


@pytest.mark.parametrize("change", CHANGED)
def test_the_order_of_a_group_outlasts_a_change_of_one_of_them(world: World, change: str) -> None:
    world.die(poison(20, lambda _: {"group": "g"}), "q.fifo", "dead.fifo")
    assert world.take(1, "q.fifo") == []
    assert world.bodies("dead.fifo") == ["0", "1", "2", "3"]
    change_one(world, CHANGED[change])
    world.keep_house()
    world.clock.ms += 5
    world.keep_house()
    assert world.bodies("dead.fifo") == [str(n) for n in range(20)]


@pytest.mark.parametrize("change", CHANGED)
def test_the_order_of_a_group_outlasts_a_change_while_they_leave(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.die(poison(20, lambda _: {"group": "g"}), "q.fifo", "dead.fifo")
    assert world.take(1, "q.fifo") == []
    load, left = Reader.load, 1

    def changed_meanwhile(*args: Any) -> list[LoadedMessage]:
        nonlocal left
        loaded = load(*args)
        if left:
            left = 0
            change_one(world, CHANGED[change])
        return loaded

    monkeypatch.setattr(Reader, "load", changed_meanwhile)
    world.broker.remove_dead_letters()
    assert world.bodies("dead.fifo") == ["0", "1", "2", "3", "4"]
    world.keep_house()
    world.clock.ms += 5
    world.keep_house()
    assert world.bodies("dead.fifo") == [str(n) for n in range(20)]


# Random operations

OPERATIONS = ("produce", "claim", "claim one", "release", "delete", "time", "keep house", "limit", "crash", "snapshot")


def check_columns(messages: Columns) -> None:
    """Check the counts of a queue against its messages, and what is in flight in its groups."""
    views = messages.after(-1, 1 << 30)
    shown = Counter(view.status for view in views)
    assert {status: count for status, count in enumerate(messages.counts) if count} == shown
    spent = messages.set_aside_first(1 << 30)
    assert len(spent) == messages.spent
    blocking = Counter(messages.lane_of(view)[1] for view in views if view.status == CLAIMED and view.lane)
    in_flight = {lane.group.name: lane.group.in_flight for lane in messages.lanes.by_number.values()}
    assert {group: count for group, count in in_flight.items() if count} == blocking


@given(
    st.sampled_from(["q", "q.fifo"]),
    st.sampled_from(["", "dead"]),
    st.lists(st.sampled_from(OPERATIONS), max_size=40),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_each_message_is_in_one_place_and_comes_out(
    name: str, dead: str, operations: list[str], chance: Random
) -> None:
    sizes = mock.patch.multiple(claims, _SPENT_PORTION=3, PORTION_MESSAGES=2)
    with sizes, mock.patch.object(transfers, "PORTION_MESSAGES", 2):
        clock, log = FakeClock(), MemoryLog()
        broker = Broker(log, clock=clock)
        broker.put_queue(name, max_receives=1, dead_letter_queue=dead)
        broker.put_queue("dead")
        made = deleted = 0
        for operation in operations:
            if operation == "produce":
                fields: list[dict[str, Any]] = [
                    {"group": chance.choice("ab")},
                    {} if name != "q" else {"priority": chance.choice((0, 9))},
                    {},
                ]
                broker.send(name, [NewMessage("x", **chance.choice(fields)) for _ in range(5)])
                made += 5
            elif operation.startswith("claim"):
                broker.claim(name, limit=1 if operation == "claim one" else 7, visibility_timeout_ms=10)
            elif operation in ("release", "delete"):
                found = list(broker.messages(name))
                if found:
                    target = Target(id=chance.choice(found).id)
                    if operation == "delete":
                        broker.delete(name, target)
                        deleted += 1
                    else:
                        broker.update(name, target, Change(delay_ms=0))
            elif operation == "time":
                clock.ms += 10
            elif operation == "keep house":
                broker.remove_dead_letters()
            elif operation == "limit":
                broker.put_queue(name, max_receives=chance.choice((0, 1, 2)))
            elif operation == "crash":
                log = log.after_crash()
                broker = Broker(log, clock=clock)
            else:
                snapshot = broker.core.state.freeze()
                chunks = list(snapshot.chunks(0))
                snapshot.release()
                assert State.load(iter(chunks)).messages == broker.core.state.messages
            for queue in broker.core.state.queues.values():
                check_columns(queue.messages)
            assert broker.core.state.messages == made - deleted
        clock.ms += 10
        broker.put_queue(name, max_receives=0)
        while broker.kick(name, 100):
            pass
        got = sum(map(len, iter(lambda: broker.claim(name, limit=100), [])))
        if name == "q":
            assert got + len(list(broker.messages("dead"))) == made - deleted, "all that may be claimed is"
