"""Publishing: into all queues whose subscriptions match, or into none, with one body in the log."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from tests.support.memory_log import MemoryLog
from tests.support.states import contents_of
from tests.support.turns import Turns
from wonderq.broker import publish_batch, shared_compaction
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest, needed_bytes
from wonderq.model import filters_json, filters_subject
from wonderq.model.attributes import Attribute
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    BrokerFullError,
    InvalidValueError,
    MessageTooLargeError,
    QueueDrainingError,
    QueueFullError,
)
from wonderq.model.filters_conditions import Conditions
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication, Published, PublishResult
from wonderq.runtime import fibers
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq_storage import FileLog

KIND: dict[str, Attribute] = {"kind": ("String", "big")}


def subscribe(broker: Broker, *queues: str, topic: str = "orders", **fields: Any) -> None:
    """Create a topic and queues, each with a subscription of its own name."""
    broker.topics.put(topic)
    for queue in queues:
        broker.put_queue(queue)
        broker.topics.subscribe(topic, queue.removesuffix(".fifo"), queue=queue, **fields)


def send(broker: Broker, *bodies: str, topic: str = "orders", **fields: Any) -> list[PublishResult]:
    return broker.topics.publish(topic, [Publication(NewMessage(body, **fields)) for body in bodies])


def listed(broker: Broker, queue: str) -> list[Message]:
    return list(broker.messages(queue))


def bodies(broker: Broker, queue: str) -> list[str]:
    return [each.body for each in listed(broker, queue)]


def test_each_queue_has_each_message_as_if_it_had_been_sent_there(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "mail", "audit", "line.fifo")
    new = [
        NewMessage("one", attributes=KIND, group="g", priority=7, key="k", system={"traceparent": "00-1-1-01"}),
        NewMessage("two", delay_ms=5_000),
        NewMessage("three", deliver_at_ms=lasting.clock.ms + 7_000),
        NewMessage(""),
    ]
    results = broker.topics.publish("orders", [Publication(each) for each in new])
    assert [(each.sequence, each.queues, each.skipped, each.is_duplicate) for each in results] == [
        (n, 3, 0, False) for n in range(4)
    ]
    for queue in ("mail", "audit"):
        broker.put_queue(f"{queue}-direct")
        broker.send(f"{queue}-direct", new)
    broker.send("direct.fifo", [each._replace(priority=0) for each in new])
    broker = lasting.again()
    for queue, direct in (("mail", "mail-direct"), ("audit", "audit-direct")):
        published = [each._replace(id="", queue="") for each in listed(broker, queue)]
        assert published == [each._replace(id="", queue="") for each in listed(broker, direct)]
        assert [each.body for each in lasting.take(queue)] == ["one", ""]
    assert lasting.bodies("line.fifo") == lasting.bodies("direct.fifo") == "one"
    lasting.clock.ms += 7_000
    assert [each.body for each in lasting.take("mail")] == ["two", "three"]
    ids = [each.id for queue in ("mail", "audit", "line.fifo") for each in listed(broker, queue)]
    assert len(set(ids) | {each.id for each in results}) == 4 * 4


def test_only_matching_queues_get_a_message(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "all", "none")
    subscribe(broker, "big", filter={"kind": ["big"]})
    subscribe(broker, "body", filter={"n": [{"numeric": [">", 1]}]}, filter_scope="body")
    subscribe(broker, "paused", paused=True)
    broker.topics.subscribe("orders", "none", filter={"kind": ["no such"]})
    messages = [
        NewMessage('{"n": 1}', attributes=KIND),
        NewMessage('{"n": 2}'),
        NewMessage('{"n": 3}', attributes=KIND),
    ]
    results = broker.topics.publish("orders", [Publication(each) for each in messages])
    assert [each.queues for each in results] == [2, 2, 3]
    broker = lasting.again()
    texts = [each.body for each in messages]
    assert bodies(broker, "all") == texts
    assert bodies(broker, "big") == [texts[0], texts[2]]
    assert bodies(broker, "body") == texts[1:]
    assert bodies(broker, "paused") == bodies(broker, "none") == []


def test_nothing_is_published_that_nobody_wants_but_it_counts(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "mail", filter={"kind": ["big"]})
    [first] = send(broker, "x" * 1000, key="k")
    assert first.queues == 0
    broker = lasting.again()
    assert broker.core.state.bytes == 0
    [second] = send(broker, "x")
    assert (second.sequence, first.id == second.id) == (1, False)
    broker.topics.subscribe("orders", "mail", filter=None)
    assert send(broker, "x", key="k")[0].is_duplicate, "a key counts for queues that want the message only later, too"


# Envelopes


def test_an_envelope_shares_the_body_and_is_made_at_delivery(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "raw")
    subscribe(broker, "wrapped", raw=False)
    message = NewMessage("b" * 5_000, attributes=KIND, group="g")
    end = broker.core.log.end()
    [sent] = broker.topics.publish("orders", [Publication(message, "news")])
    assert broker.core.log.end() - end < 5_400
    broker = lasting.again()
    given: list[tuple[Published, str, str, Any]] = []

    def write(published: Published, queue: str, body: str, attributes: Any) -> str:
        given.append((published, queue, body, attributes))
        return "an envelope"

    broker.use_envelopes(write)
    [wrapped] = lasting.take("wrapped")
    [raw] = lasting.take("raw")
    assert (wrapped.body, raw.body) == ("an envelope", message.body)
    assert wrapped.envelope is not None
    assert raw.envelope is not None
    assert (wrapped.envelope.attributes, wrapped.envelope.group, raw.envelope.attributes) == ({}, "g", KIND)
    [(published, queue, body, attributes)] = given
    assert (published.topic, published.id, published.subject) == ("orders", sent.id, "news")
    assert published.published_ms == wrapped.produced_ms
    assert (queue, body, attributes) == ("wrapped", message.body, KIND)


def test_the_envelope_says_what_was_published(broker: Broker) -> None:
    subscribe(broker, "wrapped", raw=False)
    attributes: dict[str, Attribute] = {"a": ("String", "é"), "b": ("Binary", b"\0\xff")}
    broker.topics.publish(
        "orders", [Publication(NewMessage('{"é"', attributes=attributes), "news"), Publication(NewMessage(""))]
    )
    first, second = (json.loads(body) for body in bodies(broker, "wrapped"))
    assert (first["Type"], first["Topic"], first["Subject"], first["Message"]) == (
        "Notification",
        "orders",
        "news",
        '{"é"',
    )
    assert first["MessageAttributes"] == {
        "a": {"Type": "String", "Value": "é"},
        "b": {"Type": "Binary", "Value": "AP8="},
    }
    assert "Subject" not in second
    assert "MessageAttributes" not in second
    assert first["Timestamp"].endswith("Z")


def test_a_dead_letter_keeps_its_envelope_and_a_new_body_replaces_it(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "wrapped", raw=False)
    broker.put_queue("wrapped", max_receives=1, dead_letter_queue="dead")
    send(broker, "kept", "changed", "with other attributes", attributes=KIND)
    before = bodies(broker, "wrapped")
    ids = [each.id for each in listed(broker, "wrapped")]
    broker.update("wrapped", Target(id=ids[1]), Change(body="plain"))
    broker.update("wrapped", Target(id=ids[2]), Change(attributes={}))
    assert bodies(broker, "wrapped") == [before[0], "plain", before[2]]
    assert len(lasting.take("wrapped", timeout_ms=1)) == 3
    lasting.clock.ms += 2
    assert lasting.take("wrapped") == []
    broker = lasting.again()
    assert bodies(broker, "dead") == [before[0], "plain", before[2]]


# Refusals


REFUSALS: dict[str, tuple[dict[str, Any], type[BrokerError]]] = {
    "full of messages": ({"max_messages": 1}, QueueFullError),
    "full of bytes": ({"max_bytes": 20}, QueueFullError),
    "draining": ({"draining": True}, QueueDrainingError),
    "too large": ({"max_message_bytes": 2}, MessageTooLargeError),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_a_queue_that_refuses_fails_the_publish_for_all(broker: Broker, case: str) -> None:
    settings, error = REFUSALS[case]
    subscribe(broker, "a", "narrow", "z")
    broker.put_queue("narrow", **settings)
    before = contents_of(broker.core.state, 0)
    with pytest.raises(error, match="narrow"):
        broker.topics.publish("orders", [Publication(NewMessage("ab", key="k")), Publication(NewMessage("a long one"))])
    assert contents_of(broker.core.state, 0) == before, "neither messages nor keys nor numbers are used up"


@pytest.mark.parametrize("case", sorted(REFUSALS))
@pytest.mark.parametrize("dead_letters", [False, True])
def test_a_queue_that_refuses_may_be_passed_over(broker: Broker, case: str, dead_letters: bool) -> None:
    settings, _ = REFUSALS[case]
    subscribe(broker, "a", "z")
    broker.put_queue("dead", max_messages=1)
    subscribe(broker, "narrow", when_full="skip", **({"dead_letter_queue": "dead"} if dead_letters else {}))
    broker.put_queue("narrow", **settings)
    results = send(broker, "ab", "and a long one")
    fits = ["ab"] if case == "too large" else []
    refused = [body for body in ("ab", "and a long one") if body not in fits]
    assert bodies(broker, "narrow") == fits
    assert bodies(broker, "dead") == (refused if dead_letters else [])
    assert bodies(broker, "a") == bodies(broker, "z") == ["ab", "and a long one"]
    assert [each.skipped for each in results] == [
        int(body in refused and not dead_letters) for body in ("ab", "and a long one")
    ]
    assert [each.queues for each in results] == [
        2 + (body in fits or dead_letters) for body in ("ab", "and a long one")
    ]
    info = broker.topics.subscription("orders", "narrow")
    assert (info.delivered, info.skipped) == (len(fits), len(refused))


def test_the_limits_of_the_broker_count_each_copy() -> None:
    broker = Broker(MemoryLog(), limits=Limits(total_messages=5, message_bytes=100, batch_messages=4))
    subscribe(broker, "a", "b", "c")
    with pytest.raises(BrokerFullError):
        send(broker, "x", "y")
    assert [each.queues for each in send(broker, "x")] == [3]
    with pytest.raises(MessageTooLargeError):
        send(broker, "x" * 101)
    with pytest.raises(BatchTooLargeError):
        send(broker, *"abcde")
    with pytest.raises(InvalidValueError, match="at least one"):
        send(broker)
    broker.close()


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (NewMessage("x", priority=10), "orders"),
        (NewMessage("x", priority=1), "orders.fifo"),
        (NewMessage("\ud800"), "orders"),
        (NewMessage("x", delay_ms=-1), "orders"),
        (NewMessage("x", key="k" * 129), "orders"),
    ],
)
def test_a_malformed_message_is_refused(broker: Broker, message: NewMessage, topic: str) -> None:
    subscribe(broker, "a", topic=topic)
    end = broker.core.log.end()
    with pytest.raises(InvalidValueError):
        broker.topics.publish(topic, [Publication(NewMessage("good")), Publication(message)])
    with pytest.raises(InvalidValueError, match="subject"):
        broker.topics.publish(topic, [Publication(NewMessage("good"), "s" * 101)])
    assert broker.core.log.end() == end


# Duplicates and order


def test_a_key_counts_for_the_topic(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "a", "b")
    first = broker.topics.publish(
        "orders", [Publication(NewMessage(body, key=key)) for body, key in ("1k", "2l", "3k", "4m")]
    )
    assert [each.is_duplicate for each in first] == [False, False, True, False]
    assert first[2].id == first[0].id
    broker = lasting.again()
    again = send(broker, "other", key="l")
    assert (again[0].is_duplicate, again[0].id, again[0].queues) == (True, first[1].id, 0)
    other = broker.topics.publish("orders", [Publication(NewMessage("x", key="k", key_of_batch=True))])
    assert not other[0].is_duplicate, "the key of a batch is another kind"
    assert bodies(broker, "a") == bodies(broker, "b") == ["1", "2", "4", "x"]
    assert broker.send("a", [NewMessage("sent", key="l")])[0].is_duplicate is False, "a queue has keys of its own"


def test_equal_contents_are_duplicates_if_the_topic_says_so(broker: Broker) -> None:
    subscribe(broker, "a")
    broker.topics.put("orders", content_deduplication=True)
    results = send(broker, "x", "y", "x")
    assert [each.is_duplicate for each in results] == [False, False, True]
    assert bodies(broker, "a") == ["x", "y"]


def test_groups_keep_their_order_in_fifo_queues(lasting: Lasting) -> None:
    broker = lasting.broker
    subscribe(broker, "a.fifo", "b.fifo", topic="orders.fifo")
    for n in range(6):
        broker.topics.publish(
            "orders.fifo", [Publication(NewMessage(f"{group}{n}", group=group)) for group in ("g", "h", "")]
        )
    broker = lasting.again()
    for queue in ("a.fifo", "b.fifo"):
        first = [broker.claim(queue, limit=1, visibility_timeout_ms=1) for _ in range(4)]
        assert sorted(each.body for taken in first for each in taken) == ["0", "g0", "h0"], "a claim holds its group up"
        lasting.clock.ms += 1
        got: list[str] = []
        while taken := broker.claim(queue, limit=2):
            got += [each.body for each in taken]
            broker.delete_batch(queue, [Target(each.id, each.receipt) for each in taken])
        for group in ("g", "h"):
            assert [body for body in got if body.startswith(group)] == [f"{group}{n}" for n in range(6)]
        assert len(got) == 18


def test_a_subscription_that_changes_meanwhile_is_judged_as_it_is_now(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters are evaluated before the lock is taken."""
    subscribe(broker, "kept", "changed", "ended", "new")
    broker.topics.unsubscribe("orders", "new")
    real = publish_batch.place

    def interfere(*given: Any) -> Any:
        topic = given[0]
        value = topic.subscriptions["changed"].to_record()
        topic.subscribe("changed", {**value, "filter": '{"kind": ["big"]}'}, 0)
        topic.subscribe("ended", None, 0)
        topic.subscribe("new", {**value, "queue": broker.core.state.queues["new"].number}, 0)
        return real(*given)

    monkeypatch.setattr("wonderq.broker.publish_plan.place", interfere)
    assert send(broker, "x")[0].queues == 2
    assert [bodies(broker, queue) for queue in ("kept", "changed", "ended", "new")] == [["x"], [], [], ["x"]]


def test_a_waiting_consumer_of_each_queue_is_woken(broker: Broker) -> None:
    subscribe(broker, "a", "b")
    woken = []
    real = broker.core.consumers.notify

    def notify(queue: Any) -> None:
        woken.append(queue.name)
        real(queue)

    broker.core.consumers.notify = notify  # type: ignore[method-assign]
    send(broker, "x")
    assert woken == ["a", "b"]
    assert [broker.core.counters.of(queue).messages[2] for queue in ("a", "b")] == [1, 1]


# A dry run


def test_a_dry_run_says_what_would_happen_and_why_not(broker: Broker) -> None:
    subscribe(broker, "a")
    subscribe(broker, "big", filter={"kind": ["big"]})
    subscribe(broker, "paused", paused=True)
    subscribe(broker, "full")
    broker.put_queue("full", draining=True)
    before = contents_of(broker.core.state, 0)
    found = broker.topics.match("orders", Publication(NewMessage("x")))
    assert [(each.subscription, each.matches) for each in found] == [
        ("a", True),
        ("big", False),
        ("paused", False),
        ("full", False),
    ]
    reasons = {each.subscription: each.reason for each in found}
    assert reasons["a"] == ""
    assert "kind" in reasons["big"]
    assert "paused" in reasons["paused"]
    assert "draining" in reasons["full"]
    assert [each.subscription for each in broker.topics.match("orders", Publication(NewMessage("x")), limit=2)] == [
        "a",
        "big",
    ]
    only = broker.topics.match("orders", Publication(NewMessage("x")), lambda queue: queue == "big")
    assert [each.queue for each in only] == ["big"]
    assert contents_of(broker.core.state, 0) == before


def test_a_dry_run_decodes_the_body_once_and_takes_turns(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [f"q{number}" for number in range(20)]
    subscribe(broker, *queues, filter={"list": [{"wildcard": "*x*y*z"}, {"prefix": "q"}]}, filter_scope="body")
    turns, decoded = Turns(monkeypatch), []
    holds_for, decode = Conditions._holds_for, filters_json.decode

    def hold(conditions: Conditions, *given: Any) -> bool:
        turns.count()
        return holds_for(conditions, *given)

    def note(text: str, spend: Callable[[int], None]) -> Any:
        decoded.append(text)
        return decode(text, spend)

    monkeypatch.setattr(Conditions, "_holds_for", hold)
    monkeypatch.setattr(filters_subject, "decode", note)
    message = Publication(NewMessage(json.dumps({"list": ["xy"] * 5000})))
    found = turns.run(lambda: broker.topics.match("orders", message))
    assert [each.matches for each in found] == [False] * 20
    assert len(decoded) == 1
    assert sum(turns.counts) == 20 * 5000
    assert max(turns.counts) <= fibers._STEPS_PER_TURN


def test_a_dry_run_ends_when_its_client_has_gone(broker: Broker) -> None:
    subscribe(broker, "a", "b", "c")
    answers = iter([False, True])
    found = broker.topics.match("orders", Publication(NewMessage("x")), client_gone=lambda: next(answers))
    assert [each.subscription for each in found] == ["a"]


# Texts for endpoints


def test_endpoints_may_get_another_text(lasting: Lasting) -> None:
    broker = lasting.broker
    broker.pushes.hosts = PushHosts.anywhere()
    subscribe(broker, "a")
    subscribe(broker, "wrapped", raw=False)
    for name, protocol in (("plain", "http"), ("secret", "https")):
        broker.topics.subscribe("orders", name, endpoint=f"{protocol}://hooks.example/", raw=name == "plain")
    texts = [{"http": "1h", "https": "1s"}, None, {"https": "3s"}]
    given = [Publication(NewMessage(str(number), key=f"k{number}"), texts=each) for number, each in enumerate(texts, 1)]
    first = broker.topics.publish("orders", given)
    assert [(each.queues, each.is_duplicate) for each in first] == [(4, False)] * 3
    assert broker.topics.get("orders").published == 3
    assert broker.counters.of_topic("orders").published == 3
    again = broker.topics.publish("orders", given)
    assert [(each.id, each.queues, each.is_duplicate) for each in again] == [(each.id, 0, True) for each in first]
    broker = lasting.again()
    assert bodies(broker, "a") == ["1", "2", "3"]
    assert bodies(broker, "orders--push-plain") == ["1h", "2", "3"]
    for queue, expected in (("wrapped", ["1", "2", "3"]), ("orders--push-secret", ["1s", "2", "3s"])):
        found = [json.loads(each) for each in bodies(broker, queue)]
        assert [each["Message"] for each in found] == expected
        assert [each["MessageId"] for each in found] == [each.id for each in first]


def test_the_text_for_an_endpoint_is_what_its_filter_sees(broker: Broker) -> None:
    broker.pushes.hosts = PushHosts.anywhere()
    subscribe(broker, "a", filter={"n": [1]}, filter_scope="body")
    fields: dict[str, Any] = {"filter": {"n": [2]}, "filter_scope": "body"}
    broker.topics.subscribe("orders", "hook", endpoint="http://hooks.example/", **fields)
    given = Publication(NewMessage('{"n": 1}'), texts={"http": '{"n": 2}', "https": '{"n": 3}'})
    [result] = broker.topics.publish("orders", [given])
    assert result.queues == 2
    assert (bodies(broker, "a"), bodies(broker, "orders--push-hook")) == (['{"n": 1}'], ['{"n": 2}'])
    end = broker.core.log.end()
    [result] = broker.topics.publish("orders", [given._replace(message=NewMessage('{"n": 5}'), texts=None)])
    assert (result.queues, broker.core.log.end() > end) == (0, True)


# Cost


def test_a_further_queue_costs_less_than_100_bytes_of_log(broker: Broker) -> None:
    def logged(queues: int) -> int:
        topic = f"t{queues}"
        subscribe(broker, *(f"{topic}-{n}" for n in range(queues)), topic=topic, raw=queues % 2 == 0)
        for n in range(queues):
            broker.put_queue(f"{topic}-{n}", delay_ms=5)
        end = broker.core.log.end()
        send(broker, *["b" * 10_000] * 20, topic=topic, group="g", key="")
        return broker.core.log.end() - end

    one, eleven = logged(1), logged(11)
    assert one > 200_000
    assert (eleven - one) / 10 < 100


def test_what_is_saved_follows_what_is_shared(broker: Broker) -> None:
    """Compaction compares the log with what is needed, in which a shared body counts once."""
    subscribe(broker, "a", "b")
    subscribe(broker, "c", raw=False)
    state = broker.core.state
    needed = needed_bytes(state)
    send(broker, *["b" * 1_000] * 3)
    assert 3_000 < needed_bytes(state) - needed < 4_500
    broker.purge("a")
    assert 3_000 < needed_bytes(state) - needed < 4_000
    broker.drop_queue("b")
    broker.upkeep()
    assert 3_000 < needed_bytes(state) < 5_000
    assert state.shared.saved_bytes == 0
    broker.purge("c")
    assert (state.shared.saved_bytes, len(state.shared)) == (0, 0)


@pytest.mark.parametrize("small", [False, True], ids=["", "turns of few queues"])
def test_a_compaction_keeps_bodies_shared(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    if small:
        monkeypatch.setattr(shared_compaction, "_QUEUES", 2)
        monkeypatch.setattr(shared_compaction, "_COPIES", 4)
    log = FileLog(tmp_path, segment_bytes=1 << 18)
    broker = Broker(log)
    subscribe(broker, *(f"q{n}" for n in range(5)))
    subscribe(broker, "wrapped", raw=False)
    subscribe(broker, "some", filter={"kind": ["big"]})
    names = [*(f"q{n}" for n in range(5)), "wrapped", "some"]
    for n in range(12):
        send(
            broker, f"{n}:" + "b" * 3_000, f"{n}." + "c" * 3_000, attributes=KIND if n % 3 else None, group=f"g{n % 2}"
        )
    chance = random.Random(5)
    for queue in names:
        taken = broker.claim(queue, limit=15)
        chance.shuffle(taken)
        for each in taken[:8]:
            broker.delete(queue, Target(each.id, each.receipt))
        broker.update(queue, Target(id=taken[-1].id), Change(visibility_timeout_ms=0))
    before = {queue: [each._replace(receipt=None) for each in listed(broker, queue)] for queue in names}
    alive = {each.body[:3] for queue in names[:5] for each in before[queue]}
    for _ in range(3):
        end = log.rotate()
        log.sync()
        begin = log.end()
        while (oldest := log.oldest()) and oldest[0] <= end:
            assert compact_oldest(broker, log)
        rewritten = log.end() - begin
        assert {queue: [each._replace(receipt=None) for each in listed(broker, queue)] for queue in names} == before
        assert rewritten < len(alive) * 3_000 + 30_000
    saved = broker.core.state.shared.saved_bytes
    broker.close()
    broker = Broker(FileLog(tmp_path, segment_bytes=1 << 18))
    assert broker.core.state.shared.saved_bytes == saved
    assert {queue: [each._replace(receipt=None) for each in listed(broker, queue)] for queue in names} == before
    for queue in names:
        broker.purge(queue)
    assert (broker.core.state.shared.saved_bytes, len(broker.core.state.shared)) == (0, 0)
    broker.close()


def test_compaction_holds_the_lock_for_a_bounded_number_of_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_compaction, "_COPIES", 12)
    broker = Broker(FileLog(tmp_path))
    subscribe(broker, *(f"q{n}" for n in range(5)))
    broker.topics.put("few")
    broker.topics.subscribe("few", "s", queue="q0")
    send(broker, "x", "y", "z")
    send(broker, *(f"{n}" for n in range(50)), topic="few")
    portions: list[int] = []
    live = shared_compaction._live

    def counted(portion: Any, locked: Any) -> Any:
        copies = list(live(portion, locked))
        portions.append(len(copies))
        return copies

    monkeypatch.setattr(shared_compaction, "_live", counted)
    broker.core.log.rotate()
    broker.core.log.sync()
    assert compact_oldest(broker, broker.core.log)
    assert sum(portions) == 3 * 5 + 50
    assert max(portions) <= 12
    broker.close()


def test_a_body_in_small_segments_is_rewritten_in_several_records(tmp_path: Any) -> None:
    """A record of all queues would be larger than a segment."""
    log = FileLog(tmp_path, segment_bytes=8192)
    broker = Broker(log)
    subscribe(broker, *(f"q{n}" for n in range(60)))
    send(broker, "b" * 2_000)
    for n in range(60):
        broker.claim(f"q{n}")
    for _ in range(2):
        end = log.rotate()
        log.sync()
        while (oldest := log.oldest()) and oldest[0] <= end:
            assert compact_oldest(broker, log)
    assert [bodies(broker, f"q{n}") for n in range(60)] == [["b" * 2_000]] * 60
    broker.close()


def test_many_subscriptions_are_evaluated_in_turns(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(broker, "a")
    subscribe(broker, *(f"q{n}" for n in range(50)), filter={"kind": ["no such"]})
    steps: list[int] = []
    monkeypatch.setattr(publish_batch, "took", steps.append)
    send(broker, "x")
    assert sum(steps) >= 51
    assert bodies(broker, "a") == ["x"]


def test_a_torn_publish_is_in_no_queue(tmp_path: Path) -> None:
    """A power cut may leave any bytes of it: then no queue has a message, and the key was not used."""
    broker = Broker(FileLog(tmp_path / "whole", segment_bytes=1 << 16))
    subscribe(broker, "a", "b", "c.fifo")
    broker.topics.subscribe("orders", "a", raw=False)
    send(broker, "before", key="k")
    before = contents_of(broker.core.state, 0)
    begin = broker.core.log.end()
    send(broker, *(f"{n}".ljust(300, "x") for n in range(5)), key="")
    after = contents_of(broker.core.state, 0)
    size = broker.core.log.end() - begin
    seen = set()
    for number, cut in enumerate(range(0, size + 60, 97)):
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / str(number)))
        [path] = sorted(folder.glob("*.wal"))[:1]
        data = path.read_bytes()
        end = len(data.rstrip(b"\0"))
        path.write_bytes(data[: end - cut].ljust(len(data), b"\0"))
        log = FileLog(folder)
        state, _ = replay_log(log)
        log.close()
        contents = contents_of(state, 0)
        assert contents in (before, after)
        seen.add(contents == after)
    assert seen == {False, True}
    broker.close()


def test_a_snapshot_during_a_publish_has_it_in_no_queue(broker: Broker) -> None:
    subscribe(broker, "a", "b")
    send(broker, "before")
    state = broker.core.state
    before = contents_of(state, 0)
    snapshot = state.begin_snapshot()
    send(broker, "meanwhile", key="k")
    broker.purge("a")
    while snapshot.freeze_more():
        pass
    loaded = State.load(iter(list(snapshot.chunks(0))))
    snapshot.release()
    assert contents_of(loaded, 0) == before
    assert bodies(broker, "b") == ["before", "meanwhile"]


def test_one_publish_adds_a_bounded_number_of_messages(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_batch, "MAX_DELIVERIES", 6)
    subscribe(broker, "a", "b")
    subscribe(broker, "big", filter={"kind": ["big"]})
    assert [each.queues for each in send(broker, "x", "y", "z")] == [2, 2, 2]
    end = broker.core.log.end()
    for messages in ([NewMessage("x")] * 4, [NewMessage("x"), NewMessage("y", attributes=KIND), NewMessage("z")]):
        with pytest.raises(BatchTooLargeError, match="Publish fewer messages at once"):
            broker.topics.publish("orders", [Publication(each) for each in messages])
    assert broker.core.log.end() == end


def test_only_what_changed_is_evaluated_under_the_lock(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(broker, "a", "b", "c", filter={"kind": ["big"]})
    subscribe(broker, "all")
    evaluated: list[str] = []
    real, place = publish_batch.Batch._choose, publish_batch.place

    def choose(self: Any, subscription: Any, subjects: Any) -> None:
        evaluated.append(subscription.name)
        real(self, subscription, subjects)

    def interfere(*given: Any) -> Any:
        topic = given[0]
        topic.subscribe("b", {**topic.subscriptions["b"].to_record(), "filter": ""}, 0)
        return place(*given)

    monkeypatch.setattr(publish_batch.Batch, "_choose", choose)
    monkeypatch.setattr("wonderq.broker.publish_plan.place", interfere)
    assert send(broker, "x")[0].queues == 2
    assert evaluated == ["a", "b", "c", "all", "b"]
