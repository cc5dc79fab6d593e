"""A message claimed too often moves to the dead letter queue once, complete and with its source; or it is buried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from tests.broker.test_rewriting import InterruptedLog
from tests.support.clock import FakeClock
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.admission import Admission
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.transfers import portion_of
from wonderq.model.envelope import DeadLetterSource, Envelope
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.state.columns import Columns
from wonderq_storage import SyncPolicy


def fail(lasting: Lasting, queue: str, times: int) -> None:
    """Claim everything so often, and do not delete it."""
    for _ in range(times):
        assert lasting.take(queue)
        lasting.clock.ms += 10_000


def test_a_dead_letter_has_all_it_had_and_where_it_came_from(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=2, dead_letter_queue="dead")
    attributes: dict[str, tuple[str, str | bytes]] = {"a": ("String", "x"), "b": ("Binary", b"\0\xff")}
    system = {"traceparent": "00-1-1-01"}
    message = NewMessage("poison", attributes=attributes, system=system, group="g", priority=5, key="k")
    (sent,) = lasting.broker.send("q", [message])
    produced_ms = lasting.clock.ms
    fail(lasting, "q", 2)
    lasting.again()
    assert lasting.bodies("q") == ""
    moved_ms = lasting.clock.ms
    (dead,) = lasting.again().messages("dead")
    origin = DeadLetterSource("q", sent.id, "received 2 times without being deleted", moved_ms, produced_ms, 2)
    assert dead.envelope == Envelope(attributes, system, "g", 5, "k", 1, origin)
    assert (dead.body, dead.status, dead.receives, dead.produced_ms) == ("poison", "unprocessed", 0, moved_ms)
    assert list(lasting.broker.messages("q")) == []
    assert lasting.broker.queue("dead").settings == lasting.broker.queue("default").settings


def test_what_can_still_be_tried_is_given_at_the_same_call(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.add("q", "1", "2")
    fail(lasting, "q", 1)
    lasting.add("q", "3", "4")
    lasting.again()
    assert lasting.bodies("q", 1) == "3"
    assert lasting.again().queue("q").counts["unprocessed"] == 1
    assert lasting.bodies("dead") == "1 2"


def test_without_a_queue_for_them_they_are_buried(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=2)
    lasting.add("q", "1", "2")
    fail(lasting, "q", 2)
    lasting.again()
    assert lasting.bodies("q") == ""
    assert lasting.again().queue("q").counts["buried"] == 2
    assert lasting.broker.kick("q", 1) == 1
    lasting.again()
    fail(lasting, "q", 2)
    assert lasting.bodies("q") == "", "it had as many tries as a new one, and no more"
    assert lasting.broker.queue("q").counts["buried"] == 2


def test_without_a_place_for_their_queue_they_are_buried(lasting: Lasting) -> None:
    """A refusal for this reason would block all other messages."""
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.limit(Limits(queues=2))
    lasting.add("q", "1")
    fail(lasting, "q", 1)
    lasting.add("q", "2")
    lasting.again()
    assert lasting.bodies("q") == "2"
    assert [message.status for message in lasting.again().messages("q")] == ["buried", "processing"]


def test_a_deadline_that_is_not_over_counts_for_more(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.add("q", "1")
    (held,) = lasting.take("q")
    lasting.clock.ms += 9_999
    lasting.again()
    assert lasting.bodies("q") == ""
    lasting.broker.delete("q", Target(receipt=held.receipt))
    lasting.clock.ms += 1
    assert lasting.bodies("q") == ""
    assert [info.name for info in lasting.again().queues()] == ["default", "q"]


@pytest.mark.parametrize(("before", "after"), [(0, 1), (3, 1), (1, 0)])
def test_the_limit_that_counts_is_the_one_at_the_next_claim(lasting: Lasting, before: int, after: int) -> None:
    lasting.broker.put_queue("q", max_receives=before, dead_letter_queue="dead")
    lasting.add("q", "1")
    fail(lasting, "q", 1)
    lasting.broker.put_queue("q", max_receives=after)
    lasting.again()
    assert lasting.bodies("q") == ("" if after else "1")
    assert ("dead" in [info.name for info in lasting.again().queues()]) == bool(after)


def test_a_chain_of_queues(lasting: Lasting) -> None:
    lasting.broker.put_queue("one", max_receives=1, dead_letter_queue="two")
    lasting.broker.put_queue("two", max_receives=1, dead_letter_queue="three")
    lasting.add("one", "x")
    fail(lasting, "one", 1)
    assert lasting.bodies("one") == ""
    lasting.again()
    fail(lasting, "two", 1)
    assert lasting.bodies("two") == ""
    (message,) = lasting.again().messages("three")
    assert message.envelope is not None
    assert message.envelope.dead_letter_source is not None
    assert (message.envelope.dead_letter_source.queue, message.envelope.dead_letter_source.receives) == ("two", 1)


def test_two_queues_that_send_each_other_their_dead_letters(lasting: Lasting) -> None:
    lasting.broker.put_queue("one", max_receives=1, dead_letter_queue="two")
    lasting.broker.put_queue("two", max_receives=1, dead_letter_queue="one")
    lasting.add("one", "x")
    for _ in range(3):
        for queue in ("one", "two"):
            fail(lasting, queue, 1)
            lasting.again()
            assert lasting.bodies(queue) == ""
    assert sum(len(list(lasting.broker.messages(queue))) for queue in ("one", "two")) == 1


def test_limits_and_settings_of_the_other_queue_keep_no_dead_letter_out(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.broker.put_queue("dead", draining=True, max_messages=1, delay_ms=5_000, content_deduplication=True)
    lasting.add("q", "1", "1", "1")
    fail(lasting, "q", 1)
    lasting.again()
    assert lasting.bodies("q") == ""
    assert lasting.again().queue("dead").counts["unprocessed"] == 3


def test_urgency_goes_along(lasting: Lasting) -> None:
    """It is not only shown: it also decides which comes next."""
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    for priority in (4, 0, 9):
        lasting.add("q", str(priority), priority=priority)
        fail(lasting, "q", 1)
        assert lasting.bodies("q") == ""
        lasting.again()
    assert [lasting.bodies("dead", 1) for _ in range(3)] == ["9", "4", "0"]


def test_groups_and_their_order_go_along(lasting: Lasting) -> None:
    lasting.broker.put_queue("q.fifo", max_receives=1, dead_letter_queue="dead.fifo")
    lasting.broker.send("q.fifo", [NewMessage(body, group=body[0]) for body in ("a1", "b1", "a2", "b2")])
    assert lasting.bodies("q.fifo") == "a1 a2 b1 b2"
    lasting.clock.ms += 10_000
    lasting.again()
    assert lasting.bodies("q.fifo") == ""
    lasting.again()
    (first,) = lasting.take("dead.fifo", 1)
    assert first.body == "a1"
    assert lasting.bodies("dead.fifo") == "b1 b2"
    lasting.broker.delete("dead.fifo", Target(receipt=first.receipt))
    assert lasting.bodies("dead.fifo") == "a2"


def test_a_dead_letter_frees_its_group(lasting: Lasting) -> None:
    lasting.broker.put_queue("q.fifo", max_receives=1, dead_letter_queue="dead")
    lasting.broker.send("q.fifo", [NewMessage(body, group="a") for body in ("a1", "a2")])
    assert lasting.bodies("q.fifo", 1) == "a1"
    lasting.clock.ms += 10_000
    lasting.again()
    assert lasting.bodies("q.fifo") == "a2"
    assert lasting.bodies("dead") == "a1"


def test_urgent_dead_letters_lose_their_urgency_in_a_fifo_queue(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead.fifo")
    lasting.add("q", "1")
    lasting.add("q", "2", priority=9)
    fail(lasting, "q", 1)
    lasting.again()
    assert lasting.bodies("q") == ""
    assert lasting.bodies("dead.fifo", 1) == "2", "it was picked first, so it went first"
    lasting.again()
    assert lasting.bodies("dead.fifo") == "", "both are of one group now"


def test_many_and_large_dead_letters_go_in_portions(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    for n in range(6):
        lasting.add("q", *(f"{n}.{each} ".ljust(900) for each in range(50)))
    while lasting.take("q", 1000):
        pass
    lasting.clock.ms += 10_000
    lasting.again()
    assert lasting.bodies("q") == ""
    assert lasting.broker.queue("dead").counts["unprocessed"] == 250, "no consumer waits for more"
    lasting.again()
    while lasting.broker.remove_dead_letters():
        pass
    bodies = [message.body.strip() for message in lasting.again().messages("dead")]
    assert bodies == [f"{n}.{each}" for n in range(6) for each in range(50)]


@pytest.mark.usefixtures("woken_only")
@pytest.mark.parametrize(
    ("lengths", "count"), [([900, 1], 1), ([1, 900], 1), ([50, 50, 1], 2), ([99, 1, 1], 2), ([1] * 9, 4), ([900], 1)]
)
def test_a_portion_has_the_first_that_fit(lengths: list[int], count: int) -> None:
    queue = Columns()
    queue.produce(0, 1, 0, lengths, [])
    assert portion_of(queue.after(-1, 100), 4, 100) == count


def test_whoever_waits_at_the_other_queue_is_woken(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.broker.put_queue("dead")
    lasting.add("q", "1")
    fail(lasting, "q", 1)
    broker = lasting.again()
    waiting = Call(broker.claim, "dead", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    assert lasting.bodies("q") == ""
    assert [message.body for message in waiting.result()] == ["1"]


def test_they_are_counted(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.broker.put_queue("r", max_receives=1)
    for queue in ("q", "r"):
        lasting.add(queue, "1", "2")
        fail(lasting, queue, 1)
        assert lasting.bodies(queue) == ""
    q, r = lasting.broker.counters.of("q"), lasting.broker.counters.of("r")
    assert (q.moved, q.dead_letters_moved, q.buried) == (2, 2, 0)
    assert (r.moved, r.dead_letters_moved, r.buried) == (0, 0, 2)


def test_nobody_counts_as_dead_whose_queue_has_no_limit(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", dead_letter_queue="dead")
    lasting.add("q", "1")
    fail(lasting, "q", 20)
    lasting.again()
    assert lasting.bodies("q") == "1"


# Races between finding a dead letter and moving it


@pytest.mark.parametrize(
    "meanwhile", ["deleted", "updated", "claimed", "purged", "dropped", "compacted", "moved", "kept"]
)
@pytest.mark.parametrize("group", ["", "g"])
def test_a_move_that_something_comes_between(tmp_path: Path, meanwhile: str, group: str) -> None:
    clock = FakeClock()
    log = InterruptedLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=16_384)
    broker = Broker(log, clock=clock)
    broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    (one,) = broker.send("q", [NewMessage("one", group=group)])
    (two,) = broker.send("q", [NewMessage("two", group=group)])
    broker.claim("q", visibility_timeout_ms=0)

    def claimed() -> None:
        broker.put_queue("q", max_receives=0)
        broker.claim("q", limit=1, visibility_timeout_ms=60_000)
        broker.put_queue("q", max_receives=1)

    def compacted() -> None:
        end = log.rotate()
        log.sync()
        while (oldest := log.oldest()) and oldest[0] <= end:
            assert compact_oldest(broker, log)

    def moved() -> None:
        assert broker.claim("q") == []

    actions: dict[str, Callable[[], object]] = {
        "deleted": lambda: broker.delete("q", Target(id=one.id)),
        "updated": lambda: broker.update("q", Target(id=one.id), Change(body="changed")),
        "claimed": claimed,
        "purged": lambda: broker.purge("q"),
        "dropped": lambda: broker.drop_queue("q"),
        "compacted": compacted,
        "moved": moved,
        "kept": lambda: broker.put_queue("q", max_receives=0),
    }
    log.before_read = lambda: (actions[meanwhile](), None)[1]
    given: list[Message] = []
    if meanwhile == "dropped":
        with pytest.raises(Exception, match="no queue"):
            broker.claim("q")
    else:
        given = broker.claim("q")
    nothing_leaves = meanwhile in ("purged", "dropped", "kept")
    dead = [] if nothing_leaves else [message.body for message in broker.messages("dead")]
    expected = {
        "deleted": ["two"],
        "updated": ["two", "changed"],
        "claimed": ["two"],
        "purged": [],
        "dropped": [],
        "compacted": ["one", "two"],
        "moved": ["one", "two"],
        "kept": [],
    }[meanwhile]
    assert sorted(dead) == sorted(expected)
    assert [message.body for message in given] == (["one", "two"] if meanwhile == "kept" else [])
    kept = [message.body for message in broker.messages("q")] if meanwhile != "dropped" else []
    assert kept == {"claimed": ["one"], "kept": ["one", "two"]}.get(meanwhile, [])
    assert two.sequence == 1
    broker.close()


def act_before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, act: Callable[[], object]) -> None:
    """Have something happen before the next call of a method."""
    real = getattr(owner, name)

    def called(*given: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        act()
        return real(*given)

    monkeypatch.setattr(owner, name, called)


SETTINGS: dict[str, dict[str, Any]] = {
    "another queue": {"dead_letter_queue": "new"},
    "no queue": {"dead_letter_queue": ""},
    "no limit": {"max_receives": 0},
    "a higher limit": {"max_receives": 2},
    "paused": {"paused": True},
}


@pytest.mark.parametrize("changed", SETTINGS)
@pytest.mark.parametrize("target", ["dead", ""])
@pytest.mark.parametrize("moment", ["found", "read"])
@pytest.mark.parametrize("by", ["a consumer", "housekeeping"])
def test_settings_that_change_before_a_dead_letter_leaves_count(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, changed: str, target: str, moment: str, by: str
) -> None:
    """Once the change is answered, no message leaves by the settings of before."""
    broker.put_queue("q", max_receives=1, dead_letter_queue=target)
    broker.produce("q", ["x"])
    broker.claim("q", visibility_timeout_ms=0)

    def change() -> None:
        broker.put_queue("q", **SETTINGS[changed])
        if target:
            broker.put_queue("dead")
            broker.drop_queue("dead")

    if moment == "found":
        act_before(monkeypatch, broker.claims._transfers, "dead_letter", change)
    elif target:
        act_before(monkeypatch, broker._reader, "load", change)
    else:
        act_before(monkeypatch, broker.claims._transfers, "_bury", change)
    given = broker.claim("q") if by == "a consumer" else []
    for _ in range(10):
        if not broker.remove_dead_letters():
            break
    else:
        pytest.fail("housekeeping has no end")
    is_kept = "limit" in changed
    if by == "housekeeping" and is_kept:
        given = broker.claim("q")
    assert [message.body for message in given] == (["x"] if is_kept else [])
    now = SETTINGS[changed].get("dead_letter_queue", target)
    leaves = "queue" in changed
    assert broker.queue("q").counts["buried"] == (leaves and not now)
    assert [each.name for each in broker.queues()] == ["default", *(["new"] if leaves and now else []), "q"]
    if leaves and now:
        assert [message.body for message in broker.messages(now)] == ["x"]
    if changed == "paused":
        assert broker.queue("q").counts["unprocessed"] == 1


def test_a_dead_letter_that_finds_no_place_is_not_buried_if_it_has_another_queue_by_then(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = broker.core
    core.admission = Admission(Limits(queues=3), core.state)
    broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    broker.put_queue("other")
    core.admission = Admission(Limits(queues=2), core.state)
    broker.produce("q", ["x"])
    broker.claim("q", visibility_timeout_ms=0)
    act_before(monkeypatch, broker.claims._transfers, "_bury", lambda: broker.put_queue("q", dead_letter_queue="other"))
    assert broker.claim("q") == []
    while broker.remove_dead_letters():
        pass
    assert [message.body for message in broker.messages("other")] == ["x"]
    assert broker.queue("q").counts["buried"] == 0
