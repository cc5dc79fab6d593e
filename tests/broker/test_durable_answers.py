"""No answer, and no refusal, before what it is based on is durable; and a record that the log refuses changes nothing."""

from __future__ import annotations

import inspect
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import another_receipt, contents_of
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.core import CLAIM_LEAVES
from wonderq.broker.finishing import Finish
from wonderq.broker.polls import Sources
from wonderq.model.errors import BrokerError, QueueNotFoundError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, NewMessage, RequestNumber, Target
from wonderq.model.topics import Publication
from wonderq.state import record
from wonderq.state.state import State
from wonderq_storage import DiskFullError, LogLostError

QUEUE = "default"
NUMBER = RequestNumber("producer", 1)


class Scene:
    """A broker with one message that waits, one that is claimed, and one that is gone, and a log that can be held."""

    def __init__(self, *, shared: bool = False) -> None:
        self.log = MemoryLog(shared=shared)
        self.clock = FakeClock()
        self.broker = Broker(self.log, clock=self.clock, limits=Limits(wait_s=60))
        self.claimed, self.waiting, self.gone = self.broker.produce(QUEUE, ["claimed", "waiting", "gone"])
        [message] = self.broker.claim(QUEUE, limit=1)
        assert message.receipt is not None
        self.receipt: str = message.receipt
        self.broker.delete(QUEUE, Target(id=self.gone))
        self.broker.put_queue("other")
        self.broker.produce("other", ["there"])
        self.broker.put_queue("empty")
        self.broker.send("numbered", [NewMessage("x", key="k")], NUMBER)
        self.redrive = self.broker.redrives.start("other", QUEUE, per_second=1)
        self.broker.schedules.put("daily", cron="0 6 * * *", body="x", queue=QUEUE)
        self.broker.topics.put("news")
        self.broker.topics.subscribe("news", "mine", queue="other")
        self.broker.topics.publish("news", [Publication(NewMessage("x", key="used"))])


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.log.release()


Action = Callable[[Scene], Any]


def claim_while_stopping(broker: Broker) -> None:
    broker.stop_claiming()
    broker.claim(QUEUE)


ANSWERS: dict[str, Action] = {
    "produce": lambda s: s.broker.produce(QUEUE, ["x"]),
    "produce to a new queue": lambda s: s.broker.produce("new", ["x", "y"], [None, 5]),
    "send": lambda s: s.broker.send(QUEUE, [NewMessage("x", key="k")]),
    "send again by number": lambda s: s.broker.send("numbered", [NewMessage("x", key="k")], NUMBER),
    "send again by key": lambda s: s.broker.send("numbered", [NewMessage("x", key="k")]),
    "hand over": lambda s: s.broker.hand_over(QUEUE, [Target(receipt=s.receipt)], {"other": [NewMessage("x")]}),
    "claim": lambda s: s.broker.claim(QUEUE),
    "claim by attempt": lambda s: s.broker.claim(QUEUE, attempt_id="a"),
    "claim nothing": lambda s: s.broker.claim("empty"),
    "claim nothing after waiting": lambda s: s.broker.claim("empty", wait_s=0.01),
    "claim from several": lambda s: s.broker.claim_from(Sources([QUEUE, "empty"]), ClaimOptions()),
    "deliver": lambda s: s.broker.deliver(Sources([QUEUE])),
    "finish and claim": lambda s: s.broker.next(Sources([QUEUE]), [Finish(s.receipt, None)], ClaimOptions()),
    "finish and claim nothing": lambda s: s.broker.next(Sources(["empty"]), [Finish(s.receipt, None)], ClaimOptions()),
    "finish nothing and claim nothing": lambda s: s.broker.next(
        Sources(["empty"]), [Finish(another_receipt(s.receipt), None)], ClaimOptions()
    ),
    "move messages": lambda s: s.broker.move(QUEUE, [s.waiting], "other"),
    "move nothing": lambda s: s.broker.move(QUEUE, [s.gone], "other"),
    "list all redrives": lambda s: s.broker.redrives.list_all(),
    "delete by id": lambda s: s.broker.delete(QUEUE, Target(id=s.waiting)),
    "delete by receipt": lambda s: s.broker.delete(QUEUE, Target(receipt=s.receipt)),
    "delete a batch": lambda s: s.broker.delete_batch(QUEUE, [Target(id=s.waiting), Target(id=s.gone)]),
    "delete nothing of a batch": lambda s: s.broker.delete_batch(QUEUE, [Target(id=s.gone)]),
    "renew": lambda s: s.broker.update(QUEUE, Target(receipt=s.receipt), Change()),
    "replace": lambda s: s.broker.update(QUEUE, Target(id=s.waiting), Change(body="new")),
    "update a batch": lambda s: s.broker.update_batch(QUEUE, [(Target(id=s.claimed), Change(delay_ms=0))]),
    "update nothing of a batch": lambda s: s.broker.update_batch(QUEUE, [(Target(id=s.gone), Change())]),
    "kick": lambda s: s.broker.kick(QUEUE, 1),
    "renew too late": lambda s: s.broker.update_batch(QUEUE, [(Target(receipt=another_receipt(s.receipt)), Change())]),
    "get": lambda s: s.broker.get(QUEUE, s.waiting),
    "list": lambda s: list(s.broker.messages(QUEUE)),
    "list by status": lambda s: list(s.broker.messages(QUEUE, status="processing")),
    "list nothing": lambda s: list(s.broker.messages("empty")),
    "list all queues": lambda s: list(s.broker.messages_of_all()),
    "list the end": lambda s: list(s.broker.messages(QUEUE, after=s.gone)),
    "count": lambda s: s.broker.count(QUEUE, "unprocessed"),
    "queue": lambda s: s.broker.queue(QUEUE),
    "queues": lambda s: list(s.broker.queues()),
    "queues by name": lambda s: list(s.broker.queues([QUEUE])),
    "names of queues": lambda s: s.broker.queue_names(),
    "sources of dead letters": lambda s: s.broker.sources_of("other"),
    "create a queue": lambda s: s.broker.create_queue("new"),
    "create a queue that is there": lambda s: s.broker.create_queue("other"),
    "change settings as they are": lambda s: s.broker.change_queue("other", lambda _: {"delay_ms": 5}),
    "change settings to what they are": lambda s: s.broker.change_queue("other", lambda _: {}),
    "make a queue": lambda s: s.broker.put_queue("new"),
    "change a queue": lambda s: s.broker.put_queue("other", delay_ms=5),
    "change nothing about a queue": lambda s: s.broker.put_queue("other"),
    "drop a queue": lambda s: s.broker.drop_queue("other"),
    "purge": lambda s: s.broker.purge(QUEUE),
    "purge nothing": lambda s: s.broker.purge("empty"),
    "start a redrive": lambda s: s.broker.redrives.start(QUEUE, "other"),
    "look at a redrive": lambda s: s.broker.redrives.get(s.redrive),
    "list redrives": lambda s: s.broker.redrives.list("other"),
    "cancel a redrive": lambda s: s.broker.redrives.cancel(s.redrive),
    "make a schedule": lambda s: s.broker.schedules.put("hourly", cron="0 * * * *", body="x", queue=QUEUE),
    "look at a schedule": lambda s: s.broker.schedules.get("daily"),
    "list schedules": lambda s: s.broker.schedules.list(),
    "delete a schedule": lambda s: s.broker.schedules.delete("daily"),
    "make a topic": lambda s: s.broker.topics.put("more"),
    "create a topic": lambda s: s.broker.topics.create("more"),
    "create a topic that is there": lambda s: s.broker.topics.create("news"),
    "change nothing about a topic": lambda s: s.broker.topics.put("news"),
    "change the settings of a topic": lambda s: s.broker.topics.change("news", lambda _: {"tags": {"a": "b"}}),
    "change no settings of a topic": lambda s: s.broker.topics.change("news", lambda _: {}),
    "look at a topic": lambda s: s.broker.topics.get("news"),
    "list topics": lambda s: s.broker.topics.list(),
    "delete a topic": lambda s: s.broker.topics.delete("news"),
    "subscribe": lambda s: s.broker.topics.subscribe("news", "more", queue=QUEUE),
    "change nothing about a subscription": lambda s: s.broker.topics.subscribe("news", "mine", queue="other"),
    "look at a topic with its pending subscriptions": lambda s: s.broker.topics.get_with_pending("news"),
    "look at a subscription": lambda s: s.broker.topics.subscription("news", "mine"),
    "list subscriptions": lambda s: s.broker.topics.subscriptions("news"),
    "unsubscribe": lambda s: s.broker.topics.unsubscribe("news", "mine"),
    "publish": lambda s: s.broker.topics.publish("news", [Publication(NewMessage("x"))]),
    "publish again": lambda s: s.broker.topics.publish("news", [Publication(NewMessage("x", key="used"))]),
    "match": lambda s: s.broker.topics.match("news", Publication(NewMessage("x"))),
}

REFUSALS: dict[str, Action] = {
    "delete what is gone": lambda s: s.broker.delete(QUEUE, Target(id=s.gone)),
    "delete with a void receipt": lambda s: s.broker.delete(QUEUE, Target(receipt=another_receipt(s.receipt))),
    "update what is gone": lambda s: s.broker.update(QUEUE, Target(id=s.gone), Change(delay_ms=1)),
    "renew what is not claimed": lambda s: s.broker.update(QUEUE, Target(id=s.waiting), Change()),
    "get what is gone": lambda s: s.broker.get(QUEUE, s.gone),
    "claim from no queue": lambda s: s.broker.claim("nowhere"),
    "delete from no queue": lambda s: s.broker.delete("nowhere", Target(id=s.gone)),
    "update in no queue": lambda s: s.broker.update("nowhere", Target(id=s.gone), Change()),
    "list no queue": lambda s: list(s.broker.messages("nowhere")),
    "list after an id of another queue": lambda s: list(s.broker.messages("other", after=s.gone)),
    "count no queue": lambda s: s.broker.count("nowhere", "unprocessed"),
    "look at no queue": lambda s: s.broker.queue("nowhere"),
    "purge no queue": lambda s: s.broker.purge("nowhere"),
    "hand over what is gone": lambda s: s.broker.hand_over(QUEUE, [Target(id=s.gone)], {"other": [NewMessage("x")]}),
    "kick in no queue": lambda s: s.broker.kick("nowhere", 1),
    "change settings of no queue": lambda s: s.broker.change_queue("nowhere", lambda _: {}),
    "change settings to what may not be": lambda s: s.broker.change_queue("other", lambda _: {"delay_ms": -1}),
    "redrive no queue": lambda s: s.broker.redrives.start("nowhere"),
    "look at no redrive": lambda s: s.broker.redrives.get("none"),
    "cancel no redrive": lambda s: s.broker.redrives.cancel("none"),
    "look at no schedule": lambda s: s.broker.schedules.get("none"),
    "delete no schedule": lambda s: s.broker.schedules.delete("none"),
    "look at no topic": lambda s: s.broker.topics.get("none"),
    "change no topic": lambda s: s.broker.topics.change("none", lambda _: {}),
    "delete no topic": lambda s: s.broker.topics.delete("none"),
    "publish to no topic": lambda s: s.broker.topics.publish("none", [Publication(NewMessage("x"))]),
    "match no topic": lambda s: s.broker.topics.match("none", Publication(NewMessage("x"))),
    "subscribe to no topic": lambda s: s.broker.topics.subscribe("none", "x", queue=QUEUE),
    "subscribe no queue": lambda s: s.broker.topics.subscribe("news", "x", queue="nowhere"),
    "look at no subscription": lambda s: s.broker.topics.subscription("news", "none"),
    "list no subscriptions": lambda s: s.broker.topics.subscriptions("none"),
    "unsubscribe nothing": lambda s: s.broker.topics.unsubscribe("news", "none"),
    "drop no queue": lambda s: s.broker.drop_queue("nowhere"),
    "drop the default queue": lambda s: s.broker.drop_queue(QUEUE),
    "claim while stopping": lambda s: claim_while_stopping(s.broker),
}


def withhold_records(scene: Scene) -> Call[Any]:
    """Decide something whose record does not become durable."""
    scene.log.hold()
    call: Call[Any] = Call(scene.broker.produce, QUEUE, ["not durable yet"])
    eventually(lambda: scene.log.blocked == 1)
    return call


def must_wait(scene: Scene, act: Action) -> Call[Any]:
    earlier = withhold_records(scene)
    call: Call[Any] = Call(act, scene)
    eventually(lambda: call.done or scene.log.blocked == 2)
    assert not call.done, "answered before what it is based on was durable"
    scene.log.release()
    earlier.result()
    return call


@pytest.mark.parametrize("act", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_waits(scene: Scene, act: Action) -> None:
    must_wait(scene, act).result()


@pytest.mark.parametrize("act", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_waits(scene: Scene, act: Action) -> None:
    with pytest.raises(BrokerError):
        must_wait(scene, act).result()


def test_a_refusal_to_make_a_queue_waits(scene: Scene) -> None:
    broker = Broker(scene.log.after_crash(), create_queues=False)
    scene.broker, scene.log = broker, broker.core.log  # type: ignore[assignment]
    with pytest.raises(QueueNotFoundError):
        must_wait(scene, lambda s: s.broker.produce("nowhere", ["x"])).result()


@pytest.mark.parametrize("act", [*ANSWERS.values(), *REFUSALS.values()], ids=[*ANSWERS, *REFUSALS])
def test_nothing_waits_for_what_is_durable_already(scene: Scene, act: Action) -> None:
    """The answers above wait for a record, not for the next sync: with none outstanding, those that read come at once."""
    before = len(scene.log.records)
    Call(act, scene).join(PATIENCE_S)
    if len(scene.log.records) == before:
        scene.log.hold()
        call: Call[Any] = Call(act, scene)
        eventually(lambda: call.done, "an answer without a sync")
        scene.log.release()


#: Answers that no client acts on.
_UNCONFIRMED = {"claim nothing", "claim nothing after waiting"}


@pytest.mark.parametrize("name", [each for each in (*ANSWERS, *REFUSALS) if each not in _UNCONFIRMED])
def test_nothing_is_answered_or_refused_from_a_log_that_another_writer_has_taken_over(name: str) -> None:
    """This broker does not know it yet, as after a pause of its process: what it has in memory is of the past."""
    scene = Scene(shared=True)
    scene.log.opened_again()
    with pytest.raises(LogLostError):
        (ANSWERS | REFUSALS)[name](scene)


@pytest.mark.parametrize("name", sorted(_UNCONFIRMED))
def test_an_empty_claim_appends_nothing_to_be_sure(name: str) -> None:
    scene = Scene(shared=True)
    end = scene.log.end()
    assert ANSWERS[name](scene) == []
    assert scene.log.end() == end


def test_a_consumer_that_waited_is_answered_after_the_claim_is_durable(scene: Scene) -> None:
    call = Call(scene.broker.claim, "empty", wait_s=30)
    eventually(lambda: scene.broker.core.consumers._count == 1)
    scene.log.hold()
    producer = Call(scene.broker.produce, "empty", ["x"])
    eventually(lambda: scene.log.blocked == 2)
    assert not call.done
    assert not producer.done
    scene.log.release()
    producer.result()
    assert [message.body for message in call.result()] == ["x"]


def test_what_is_not_durable_is_gone_after_a_crash_and_nobody_was_told(scene: Scene) -> None:
    scene.log.hold()
    calls = [Call(act, scene) for act in (ANSWERS["claim"], ANSWERS["delete by receipt"], ANSWERS["produce"])]
    eventually(lambda: scene.log.blocked == 3)
    broker = Broker(scene.log.after_crash(), clock=scene.clock)
    assert [message.status for message in broker.messages(QUEUE)] == ["processing", "unprocessed"]
    broker.delete(QUEUE, Target(receipt=scene.receipt))
    assert not any(call.done for call in calls)


def test_records_stand_in_the_order_of_decisions() -> None:
    log = MemoryLog()
    clock = FakeClock()
    broker = Broker(log, clock=clock)
    applied: list[int] = list(log.positions)
    apply = broker.core.state.apply

    def note(fields: Sequence[Any], position: int, size: int) -> None:
        applied.append(position)
        apply(fields, position, size)

    broker.core.state.apply = note  # type: ignore[method-assign]
    start = threading.Barrier(6)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        queue = f"queue-{seed % 3}"
        start.wait()
        for _ in range(60):
            ids = broker.produce(queue, ["x"] * chance.randrange(1, 4))
            for message in broker.claim(queue, limit=2, visibility_timeout_ms=chance.choice([0, 5000])):
                broker.delete_batch(queue, [Target(receipt=message.receipt), Target(id=chance.choice(ids))])
            broker.update_batch(queue, [(Target(id=chance.choice(ids)), Change(body="y", delay_ms=0))])

    for call in [Call(work, seed) for seed in range(6)]:
        call.result()
    assert applied == log.positions
    fresh = State()
    for position, data in log.replay():
        fresh.apply(record.decode(data), position, len(data))
    assert contents_of(fresh, clock.ms) == contents_of(broker.core.state, clock.ms)


#: Operations of which clients get no answer, or none that depends on records.
_WITHOUT_ANSWERS = {
    *(
        "upkeep",
        "remove_dead_letters",
        "queue_stats",
        "usage",
        "locked",
        "stop_claiming",
        "review_clock",
        "close",
        "mark_damaged",
        "use_envelopes",
        "reach",
    ),
    *(
        "settings_of",
        "sqs_attributes",
        "topics.settings_of",
        "topics.name_of_subscription",
    ),  # come before an operation that waits
    *("redrives.append_drop", "redrives.run", "schedules.fire_due", "schedules.next_times"),
}


def test_every_operation_is_among_these(scene: Scene) -> None:
    found = {
        f"{prefix}{name}"
        for prefix, part in (
            ("", scene.broker),
            ("redrives.", scene.broker.redrives),
            ("schedules.", scene.broker.schedules),
            ("topics.", scene.broker.topics),
        )
        for name in dir(part)
        if not name.startswith("_") and inspect.ismethod(getattr(part, name))
    }
    source = inspect.getsource(sys.modules[__name__])
    assert {name for name in found - _WITHOUT_ANSWERS if f"s.broker.{name}(" not in source} == set()


WRITES = {
    name: ANSWERS[name]
    for name in (
        "produce", "produce to a new queue", "claim", "delete by id", "delete by receipt", "delete a batch", "renew",
        "replace", "update a batch", "make a queue", "change a queue", "drop a queue", "purge",
        "make a topic", "change the settings of a topic", "subscribe", "unsubscribe", "delete a topic", "publish",
    )
}  # fmt: skip


@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
def test_a_refused_record_changes_nothing(scene: Scene, act: Action) -> None:
    before = contents_of(scene.broker.core.state, scene.clock.ms)
    scene.log.room_bytes = 0
    with pytest.raises(DiskFullError):
        act(scene)
    assert contents_of(scene.broker.core.state, scene.clock.ms) == before
    records = len(scene.log.records)
    scene.log.room_bytes = 1 << 40
    scene.clock.ms += 1
    act(scene)
    assert len(scene.log.records) > records
    assert contents_of(scene.broker.core.state, scene.clock.ms) != before


@pytest.mark.parametrize("bodies", [["x"], ["x" * 1000] * 100, ["x"] * 1000])
def test_there_is_room_for_a_new_queue_and_its_first_messages_or_for_none(scene: Scene, bodies: list[str]) -> None:
    before = contents_of(scene.broker.core.state, scene.clock.ms)
    log = scene.log
    refused = 0
    for room in range(1 << 25, (1 << 25) + 140_000, 50):
        log.room_bytes = room
        try:
            scene.broker.produce("new", bodies, [5] * len(bodies))
        except DiskFullError:
            refused += 1
            assert "new" not in scene.broker.core.state.queues
            continue
        break
    else:
        pytest.fail("it never fitted")
    assert refused
    assert contents_of(scene.broker.core.state, scene.clock.ms) != before


def test_deleting_works_on_when_producing_and_claiming_have_no_room(scene: Scene) -> None:
    scene.log.room_bytes = 1 << 22
    with pytest.raises(DiskFullError):
        scene.broker.produce(QUEUE, ["x"])
    with pytest.raises(DiskFullError):
        scene.broker.put_queue("new")
    with pytest.raises(DiskFullError):
        scene.broker.claim(QUEUE)
    scene.broker.delete(QUEUE, Target(receipt=scene.receipt))
    assert scene.broker.purge(QUEUE) == 1
    scene.broker.drop_queue("other")


def test_claiming_works_on_when_producing_has_no_room(scene: Scene) -> None:
    scene.log.room_bytes = (1 << 25) - 1
    with pytest.raises(DiskFullError):
        scene.broker.produce(QUEUE, ["x"])
    with pytest.raises(DiskFullError):
        scene.broker.update(QUEUE, Target(id=scene.waiting), Change(body="longer"))
    scene.broker.update(QUEUE, Target(receipt=scene.receipt), Change())
    assert [message.body for message in scene.broker.claim(QUEUE)] == ["waiting"]


def test_those_who_wait_are_not_disturbed_by_a_refused_record(scene: Scene) -> None:
    attempts: list[int] = []

    def gone() -> bool:
        attempts.append(1)
        return False

    call = Call(scene.broker.claim, "empty", wait_s=50, client_gone=gone)
    eventually(lambda: scene.broker.core.consumers._count == 1)
    scene.log.room_bytes = 0
    with pytest.raises(DiskFullError):
        scene.broker.produce("empty", ["x"])
    assert not call.done
    assert scene.broker.core.consumers._count == 1
    scene.log.room_bytes = 1 << 40
    scene.broker.produce("empty", ["y"])
    assert [message.body for message in call.result()] == ["y"]
    assert len(attempts) == 2


def test_a_waiting_consumer_whose_claim_is_refused_leaves_the_message(scene: Scene) -> None:
    call = Call(scene.broker.claim, "empty", wait_s=50)
    eventually(lambda: scene.broker.core.consumers._count == 1)
    append = scene.log.append_together

    def no_claims(records: Sequence[bytes], *, leave_bytes: int = 0) -> list[int]:
        if leave_bytes == scene.log.max_record_bytes // CLAIM_LEAVES:
            raise DiskFullError("no room")
        return append(records, leave_bytes=leave_bytes)

    scene.log.append_together = no_claims  # type: ignore[method-assign]
    scene.broker.produce("empty", ["x"])
    with pytest.raises(DiskFullError):
        call.result()
    assert scene.broker.core.consumers._count == 0
    assert scene.broker.count("empty", "unprocessed") == 1
    scene.log.append_together = append  # type: ignore[method-assign]
    assert [message.body for message in scene.broker.claim("empty")] == ["x"]
