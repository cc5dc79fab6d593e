"""A hand-over deletes messages and adds others at once: all of it is done, or nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.broker.conftest import Lasting
from tests.broker.fake_clock import FakeClock
from tests.broker.helpers import Call, eventually
from tests.broker.memory_log import MemoryLog
from wonderq.broker import Broker
from wonderq.contents import NewMessage
from wonderq.errors import (
    BatchTooLargeError,
    BrokerError,
    InvalidQueueNameError,
    InvalidValueError,
    MessageNotFoundError,
    QueueDrainingError,
    QueueFullError,
    QueueNotFoundError,
    StaleReceiptError,
    TooManyQueuesError,
)
from wonderq.model import Limits, Message, Target

Outputs = dict[str, list[NewMessage]]


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
    assert len({queue.number for queue in lasting.broker._state.queues.values()}) == 4


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


REFUSED: dict[str, tuple[Callable[[Lasting, list[Target]], object], type[BrokerError]]] = {
    "a receipt that is stale": (
        lambda it, held: it.broker.hand_over("in", [held[0], it.stale[0]], {"out": [NewMessage("x")]}),  # type: ignore[attr-defined]
        StaleReceiptError,
    ),
    "a message that is gone": (
        lambda it, held: it.broker.hand_over("in", [held[0], Target(id=it.gone)], {"out": [NewMessage("x")]}),  # type: ignore[attr-defined]
        MessageNotFoundError,
    ),
    "the same message twice": (
        lambda it, held: it.broker.hand_over("in", [held[0], held[0]], {"out": [NewMessage("x")]}),
        InvalidValueError,
    ),
    "nothing to delete": (
        lambda it, held: it.broker.hand_over("in", [], {"out": [NewMessage("x")]}),
        InvalidValueError,
    ),
    "no messages for a queue": (lambda it, held: it.broker.hand_over("in", held, {"out": []}), InvalidValueError),
    "a queue that is full": (
        lambda it, held: it.broker.hand_over("in", held, {"out": [NewMessage("x")], "full": [NewMessage("y")]}),
        QueueFullError,
    ),
    "a queue that is being drained": (
        lambda it, held: it.broker.hand_over("in", held, {"out": [NewMessage("x")], "drained": [NewMessage("y")]}),
        QueueDrainingError,
    ),
    "a queue with no such name": (
        lambda it, held: it.broker.hand_over("in", held, {"out": [NewMessage("x")], "no/name": [NewMessage("y")]}),
        InvalidQueueNameError,
    ),
    "a queue that is not there": (
        lambda it, held: it.broker.hand_over("nowhere", held, {"out": [NewMessage("x")]}),
        QueueNotFoundError,
    ),
    "a delay out of range": (
        lambda it, held: it.broker.hand_over("in", held, {"out": [NewMessage("x"), NewMessage("y", delay_ms=-1)]}),
        InvalidValueError,
    ),
    "too many queues": (
        lambda it, held: it.broker.hand_over("in", held, {name: [NewMessage("x")] for name in ("out", "more")}),
        TooManyQueuesError,
    ),
    "too many bytes together": (
        lambda it, held: it.broker.hand_over(
            "in", held, {name: [NewMessage("x" * 90)] * 3 for name in ("default", "full", "drained")}
        ),
        BatchTooLargeError,
    ),
    "too many messages together": (
        lambda it, held: it.broker.hand_over("in", held, {name: [NewMessage("")] * 9 for name in ("out", "default")}),
        BatchTooLargeError,
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_done_if_something_is_refused(lasting: Lasting, kind: str) -> None:
    lasting.broker.put_queue("full", max_messages=1)
    lasting.broker.put_queue("drained", draining=True)
    lasting.add("full", "full")
    (lasting.gone,) = lasting.add("in", "gone")  # type: ignore[attr-defined]
    lasting.broker.delete("in", Target(id=lasting.gone))  # type: ignore[attr-defined]
    lasting.add("in", "stale")
    lasting.stale = [Target(receipt=message.receipt) for message in lasting.take("in", timeout_ms=0)]  # type: ignore[attr-defined]
    held = hold(lasting, "1")
    lasting.broker.limits = Limits(queues=5, message_bytes=100, batch_bytes=600, batch_messages=12)
    before = contents(lasting)
    work, error = REFUSED[kind]
    with pytest.raises(error):
        work(lasting, held)
    lasting.again()
    assert contents(lasting) == before
    lasting.broker.hand_over("in", held, {"out": [NewMessage("x")]})
    assert contents(lasting)["out"] == ["x"]


def test_a_crash_leaves_all_or_nothing() -> None:
    """Every record that it takes is appended together with the others."""
    log, clock = MemoryLog(), FakeClock()
    broker = Broker(log, clock=clock)
    broker.produce("in", ["1"])
    (held,) = broker.claim("in")
    before = len(log.records)
    log.hold()
    outputs = {"a": [NewMessage("x", key="k")], "b.fifo": [NewMessage("y", group="g")]}
    call = Call(broker.hand_over, "in", [Target(receipt=held.receipt)], outputs)
    eventually(lambda: len(log.records) > before)
    again = Broker(log.after_crash(), clock=clock)
    assert [info.name for info in again.queues()] == ["default", "in"]
    assert [message.status for message in again.messages("in")] == ["processing"]
    log.release()
    call.result()
    assert [message.body for message in broker.messages("b.fifo")] == ["y"]
    broker.close()


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
    named = lasting.broker.measures
    assert sum(named.of("in").lifetime_ms.counts) == 2
    assert sum(named.of("out").messages) == 1
