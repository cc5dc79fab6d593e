"""A hand-over deletes messages and adds others at once: all of it is done, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.broker.conftest import Lasting
from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    BrokerFullError,
    InvalidQueueNameError,
    InvalidValueError,
    MessageNotFoundError,
    QueueDrainingError,
    QueueFullError,
    QueueNotFoundError,
    StaleReceiptError,
    TooManyKeysError,
    TooManyQueuesError,
)
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, NewMessage, Target
from wonderq_storage import Position

Outputs = dict[str, list[NewMessage]]
"""New messages, by queue."""


def contents(lasting: Lasting) -> dict[str, list[str]]:
    """The bodies of all messages, by queue."""
    names = [info.name for info in lasting.broker.queues()]
    return {name: [message.body for message in lasting.broker.messages(name)] for name in names}


def hold(lasting: Lasting, *bodies: str) -> list[Target]:
    lasting.add("in", *bodies)
    return [Target(receipt=message.receipt) for message in lasting.take("in")]


def test_to_several_queues_of_which_some_are_new(lasting: Lasting) -> None:
    held = hold(lasting, "1", "2")
    lasting.add("in", "3")
    outputs = {name: [NewMessage(f"{name}1"), NewMessage(f"{name}2")] for name in ("a", "default", "b.fifo", "in")}
    sent = lasting.broker.hand_over("in", held, outputs)
    assert {name: [each.sequence for each in results] for name, results in sent.items()} == {
        "a": [0, 1],
        "default": [0, 1],
        "b.fifo": [0, 1],
        "in": [3, 4],
    }
    lasting.again()
    assert contents(lasting) == {
        "default": ["default1", "default2"],
        "a": ["a1", "a2"],
        "b.fifo": ["b.fifo1", "b.fifo2"],
        "in": ["3", "in1", "in2"],
    }
    assert lasting.broker.get("a", sent["a"][1].id).body == "a2"
    assert len({queue.number for queue in lasting.broker.core.state.queues.values()}) == 4


def test_only_delete_and_only_by_id(lasting: Lasting) -> None:
    (one,) = lasting.add("in", "1")
    assert lasting.broker.hand_over("in", [Target(id=one)], {}) == {}
    lasting.again()
    assert contents(lasting) == {"default": [], "in": []}


def test_keys_groups_and_delays_work_as_in_a_send(lasting: Lasting) -> None:
    held = hold(lasting, "1", "2")
    outputs = {"out.fifo": [NewMessage("x", key="k", group="g"), NewMessage("y", group="g", delay_ms=5_000)]}
    lasting.broker.hand_over("in", held[:1], outputs)
    lasting.again()
    (again, _) = lasting.broker.hand_over("in", held[1:], outputs)["out.fifo"]
    assert again.is_duplicate
    lasting.again()
    assert contents(lasting)["out.fifo"] == ["x", "y", "y"]
    assert lasting.bodies("out.fifo") == "x"


STALE, GONE = "stale", "gone"

REFUSED: dict[str, tuple[list[str], Outputs, type[BrokerError]]] = {
    "a receipt that is stale": (["held", STALE], {"out": [NewMessage("x")]}, StaleReceiptError),
    "a message that is gone": (["held", GONE], {"out": [NewMessage("x")]}, MessageNotFoundError),
    "the same message twice": (["held", "held"], {"out": [NewMessage("x")]}, InvalidValueError),
    "nothing to delete": ([], {"out": [NewMessage("x")]}, InvalidValueError),
    "no messages for a queue": (["held"], {"out": []}, InvalidValueError),
    "a full queue": (["held"], {"out": [NewMessage("x")], "full": [NewMessage("y")]}, QueueFullError),
    "a draining queue": (["held"], {"out": [NewMessage("x")], "drained": [NewMessage("y")]}, QueueDrainingError),
    "no such name": (["held"], {"out": [NewMessage("x")], "no/name": [NewMessage("y")]}, InvalidQueueNameError),
    "a delay": (["held"], {"out": [NewMessage("x"), NewMessage("y", delay_ms=-1)]}, InvalidValueError),
    "too many queues": (["held"], {name: [NewMessage("x")] for name in ("out", "more")}, TooManyQueuesError),
    "too many bytes together": (
        ["held"],
        {name: [NewMessage("x" * 90)] * 3 for name in ("default", "full", "drained")},
        BatchTooLargeError,
    ),
    "too many messages": (["held"], {name: [NewMessage("")] * 9 for name in ("out", "default")}, BatchTooLargeError),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_done_if_something_is_refused(lasting: Lasting, kind: str) -> None:
    lasting.broker.put_queue("full", max_messages=1)
    lasting.broker.put_queue("drained", draining=True)
    lasting.add("full", "full")
    (gone,) = lasting.add("in", "gone")
    lasting.broker.delete("in", Target(id=gone))
    lasting.add("in", "stale")
    (stale,) = lasting.take("in", timeout_ms=0)
    (held,) = hold(lasting, "1")[:1]
    targets = {"held": held, STALE: Target(receipt=stale.receipt), GONE: Target(id=gone)}
    lasting.limit(Limits(queues=5, message_bytes=100, batch_bytes=600, batch_messages=12))
    before = contents(lasting)
    names, outputs, error = REFUSED[kind]
    with pytest.raises(error):
        lasting.broker.hand_over("in", [targets[name] for name in names], outputs)
    with pytest.raises(QueueNotFoundError):
        lasting.broker.hand_over("nowhere", [held], {"out": [NewMessage("x")]})
    lasting.again()
    assert contents(lasting) == before
    lasting.broker.hand_over("in", [held], {"out": [NewMessage("x")]})
    assert contents(lasting)["out"] == ["x"]


TOTALS: dict[str, tuple[Limits, type[BrokerError]]] = {
    "messages": (Limits(total_messages=10), BrokerFullError),
    "bytes": (Limits(total_bytes=1000), BrokerFullError),
    "keys": (Limits(total_keys=10), TooManyKeysError),
}


@pytest.mark.parametrize("kind", TOTALS)
def test_all_outputs_together_count_for_the_limits_of_the_broker(lasting: Lasting, kind: str) -> None:
    (held,) = hold(lasting, "1")
    limits, error = TOTALS[kind]
    lasting.limit(limits)
    outputs = {
        queue: [NewMessage("x" * 100, key=f"{queue}{at}") for at in range(4)] for queue in ("first", "second", "third")
    }
    before = contents(lasting)
    with pytest.raises(error):
        lasting.broker.hand_over("in", [held], outputs)
    assert contents(lasting) == before
    lasting.broker.hand_over("in", [held], {"first": outputs["first"], "second": outputs["second"]})


class CountingLog(MemoryLog):
    """Knows how many records were appended at each call: what is appended together, a crash does not part."""

    together: list[int]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        self.together.append(len(records))
        return super().append_together(records, leave_bytes=leave_bytes)


def test_a_crash_leaves_all_or_nothing() -> None:
    log, clock = CountingLog(), FakeClock()
    log.together = []
    broker = Broker(log, clock=clock)
    broker.produce("in", ["1"])
    (held,) = broker.claim("in")
    log.together.clear()
    log.hold()
    outputs = {"a": [NewMessage("x", key="k")], "b.fifo": [NewMessage("y", group="g")]}
    call = Call(broker.hand_over, "in", [Target(receipt=held.receipt)], outputs)
    eventually(lambda: log.together)
    again = Broker(log.after_crash(), clock=clock)
    assert [info.name for info in again.queues()] == ["default", "in"]
    assert [message.status for message in again.messages("in")] == ["processing"]
    log.release()
    call.result()
    assert log.together == [6], "the deletion, two queues with a message each, and a key"
    assert [message.body for message in broker.messages("b.fifo")] == ["y"]
    broker.close()


@pytest.mark.usefixtures("woken_only")
def test_it_frees_the_group_and_wakes_who_waits(lasting: Lasting) -> None:
    lasting.add("in.fifo", "a1", "a2", group="a")
    (held,) = lasting.take("in.fifo", 1)
    lasting.broker.put_queue("out")
    broker = lasting.again()
    waiting: list[Call[list[Message]]] = [Call(broker.claim, queue, wait_s=20) for queue in ("in.fifo", "out")]
    eventually(lambda: broker.waiting_consumers == 2)
    broker.hand_over("in.fifo", [Target(receipt=held.receipt)], {"out": [NewMessage("x")]})
    assert [[message.body for message in call.result()] for call in waiting] == [["a2"], ["x"]]


def test_it_is_counted(lasting: Lasting) -> None:
    held = hold(lasting, "1", "2")
    lasting.broker.hand_over("in", held, {"out": [NewMessage("x", key="k"), NewMessage("x", key="k")]})
    named = lasting.broker.counters
    assert sum(named.of("in").lifetime_ms.counts) == 2
    assert sum(named.of("out").messages) == 1
