"""Links from one shard to another: dead letters, publishes, schedules, redrives and moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.two_shards import TwoShards, name_in
from tests.support.waiting import eventually
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.polls import Sources
from wonderq.cluster.crossing_metrics import CrossingCollector
from wonderq.model.errors import (
    AlreadySubscribedError,
    BrokerError,
    DifferentShardsError,
    NotMovableError,
    NotPermittedError,
    QueueNotFoundError,
    ShardUnavailableError,
)
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication

HERE, THERE = name_in(0, "orders"), name_in(1, "failed")
TOPIC, OWN = name_in(0, "news"), name_in(0, "mail")


@pytest.fixture
def shards() -> Iterator[TwoShards]:
    shards = TwoShards()
    shards.broker(HERE).put_queue(HERE)
    shards.broker(THERE).put_queue(THERE)
    yield shards
    shards.close()


def redrive(shards: TwoShards, source: str, destination: str | None = None, **fields: Any) -> Any:
    """Run a redrive, and let its messages cross."""
    broker = shards.broker(source)
    started = broker.redrives.start(source, destination, **fields)

    def has_ended() -> bool:
        broker.redrives.run()
        shards.advance(1)
        return broker.redrives.get(started).status != "running"

    eventually(has_ended, "the redrive to end")
    shards.cross()
    return broker.redrives.get(started)


def test_a_message_that_its_consumer_gives_up_crosses(shards: TwoShards) -> None:
    broker = shards.broker(HERE)
    broker.put_queue(HERE, dead_letter_queue=THERE)
    broker.produce(HERE, ["x"])
    [message] = broker.claim(HERE)
    change = Change(dead=True, error=ReportedError("no such customer"))
    broker.update(HERE, Target(receipt=message.receipt), change)
    shards.cross()
    [dead] = shards.messages(THERE)
    assert dead.envelope is not None
    assert dead.envelope.dead_letter_source is not None
    assert (dead.body, dead.envelope.dead_letter_source.reason) == ("x", "no such customer")


def test_a_publish_gets_into_queues_of_both_shards_or_none(shards: TwoShards) -> None:
    broker = shards.broker(TOPIC)
    broker.put_queue(OWN, max_messages=1)
    broker.topics.put(TOPIC)
    broker.topics.subscribe(TOPIC, "own", queue=OWN)
    broker.topics.subscribe(TOPIC, "far", queue=THERE)
    [result] = broker.topics.publish(TOPIC, [Publication(NewMessage("x"))])
    assert result.queues == 2
    with pytest.raises(BrokerError, match=OWN):
        broker.topics.publish(TOPIC, [Publication(NewMessage("y"))])
    shards.cross()
    assert (shards.bodies(OWN), shards.bodies(THERE)) == (["x"], ["x"])


def test_a_subscription_with_an_envelope_gets_it_in_the_other_shard(shards: TwoShards) -> None:
    broker = shards.broker(TOPIC)
    broker.topics.put(TOPIC)
    broker.topics.subscribe(TOPIC, "far", queue=THERE, raw=False)
    broker.topics.publish(TOPIC, [Publication(NewMessage("x"), "a subject")])
    shards.cross()
    [message] = shards.broker(THERE).claim(THERE)
    assert TOPIC in message.body
    assert "a subject" in message.body


def test_a_filter_decides_before_a_message_crosses(shards: TwoShards) -> None:
    broker = shards.broker(TOPIC)
    broker.topics.put(TOPIC)
    broker.topics.subscribe(TOPIC, "far", queue=THERE, filter={"kind": ["paid"]})
    for kind in ("new", "paid"):
        broker.topics.publish(TOPIC, [Publication(NewMessage(kind, attributes={"kind": ("String", kind)}))])
    shards.cross()
    assert shards.bodies(THERE) == ["paid"]


def test_a_subscription_shows_its_queue_and_ends_as_any_other(shards: TwoShards) -> None:
    topics = shards.broker(TOPIC).topics
    topics.put(TOPIC)
    info, created = topics.subscribe(TOPIC, "far", queue=THERE)
    assert (info.queue, created) == (THERE, True)
    with pytest.raises(AlreadySubscribedError):
        topics.subscribe(TOPIC, "again", queue=THERE)
    topics.publish(TOPIC, [Publication(NewMessage("before"))])
    topics.unsubscribe(TOPIC, "far")
    topics.publish(TOPIC, [Publication(NewMessage("after"))])
    shards.cross()
    assert shards.bodies(THERE) == ["before"]
    topics.subscribe(TOPIC, "again", queue=THERE)


def test_messages_that_a_queue_refuses_cross_to_the_dead_letter_queue(shards: TwoShards) -> None:
    broker = shards.broker(TOPIC)
    broker.put_queue(OWN, max_messages=1)
    broker.topics.put(TOPIC)
    broker.topics.subscribe(TOPIC, "own", queue=OWN, when_full="skip", dead_letter_queue=THERE)
    for body in ("fits", "does not"):
        broker.topics.publish(TOPIC, [Publication(NewMessage(body))])
    shards.cross()
    assert (shards.bodies(OWN), shards.bodies(THERE)) == (["fits"], ["does not"])


def test_each_time_of_a_schedule_has_its_message_once(shards: TwoShards) -> None:
    broker = shards.broker(HERE)
    broker.schedules.put(HERE, cron="* * * * *", queue=THERE, body="tick")
    shards.faults = ["reply lost", "request lost", "none", "reply lost"]
    for number in range(4):
        shards.advance(60)
        shards.broker(HERE).schedules.fire_due()
        shards.turn()
        if number == 1:
            shards.take_over(0)
    shards.cross()
    times = [each.envelope.attributes["scheduled_at"] for each in shards.messages(THERE) if each.envelope]
    assert len(times) == len(set(times)) == 4


def test_a_schedule_creates_its_queue_as_in_one_shard(shards: TwoShards) -> None:
    new = name_in(1, "new")
    shards.broker(HERE).schedules.put(HERE, cron="* * * * *", queue=new, body="tick")
    shards.advance(60)
    shards.broker(HERE).schedules.fire_due()
    shards.cross()
    assert shards.bodies(new) == ["tick"]


def test_a_redrive_moves_messages_to_another_shard(shards: TwoShards) -> None:
    bodies = [f"{number}" for number in range(250)]
    shards.broker(HERE).produce(HERE, bodies)
    shards.faults = ["reply lost", "none", "request lost"]
    ended = redrive(shards, HERE, THERE)
    assert (ended.status, ended.moved, ended.skipped) == ("completed", 250, 0)
    assert (shards.bodies(HERE), shards.bodies(THERE)) == ([], bodies)


def test_a_redrive_moves_dead_letters_back_to_their_shards(shards: TwoShards) -> None:
    shards.broker(HERE).put_queue(HERE, dead_letter_queue=THERE, max_receives=1)
    gone = name_in(0, "gone")
    shards.broker(gone).put_queue(gone, dead_letter_queue=THERE, max_receives=1)
    shards.kill(HERE, "back")
    shards.kill(gone, "stays")
    shards.cross()
    shards.broker(gone).drop_queue(gone)
    ended = redrive(shards, THERE)
    assert (ended.status, ended.moved, ended.skipped) == ("completed", 1, 1)
    assert (shards.bodies(HERE), shards.bodies(THERE)) == (["back"], ["stays"])


def test_a_redrive_waits_for_a_shard_that_does_not_answer(shards: TwoShards) -> None:
    shards.broker(HERE).put_queue(HERE, dead_letter_queue=THERE, max_receives=1)
    shards.kill(HERE, "x")
    shards.cross()
    broker = shards.broker(THERE)
    started = broker.redrives.start(THERE)
    shards.is_silent = True
    for _ in range(3):
        assert broker.redrives.run() > 0
        shards.advance(1)
    assert broker.redrives.get(started).status == "running"
    shards.is_silent = False
    eventually(lambda: broker.redrives.run() or broker.redrives.get(started).status == "completed")
    shards.cross()
    assert shards.bodies(HERE) == ["x"]


def test_single_messages_move_to_another_shard(shards: TwoShards) -> None:
    ids = shards.broker(HERE).produce(HERE, ["x", "y"])
    assert shards.broker(HERE).move(HERE, ids[:1], THERE) == [None]
    [outcome] = shards.broker(HERE).move(HERE, ids[1:])
    assert isinstance(outcome, NotMovableError), "it came from nowhere"
    shards.cross()
    assert (shards.bodies(HERE), shards.bodies(THERE)) == (["y"], ["x"])


Link = Callable[[TwoShards, str, Callable[[str | None], bool]], Any]


def subscribe(shards: TwoShards, permits: Any, **fields: Any) -> None:
    shards.broker(TOPIC).topics.put(TOPIC)
    shards.broker(TOPIC).topics.subscribe(TOPIC, "s", permits, **fields)


LINKS: dict[str, Link] = {
    "dead letters": lambda shards, to, permits: shards.broker(HERE).put_queue(HERE, permits, dead_letter_queue=to),
    "subscription": lambda shards, to, permits: subscribe(shards, permits, queue=to),
    "refused messages": lambda shards, to, permits: subscribe(
        shards, permits, queue=HERE, when_full="skip", dead_letter_queue=to
    ),
    "schedule": lambda shards, to, permits: shards.broker(HERE).schedules.put(
        HERE, permits, cron="* * * * *", queue=to, body="x"
    ),
    "redrive": lambda shards, to, permits: shards.broker(HERE).redrives.start(HERE, to, permits=permits),
    "move": lambda shards, to, permits: shards.broker(HERE).move(HERE, ["x"], to, permits=permits),
}

#: Links whose queue has to be there.
NEED_QUEUE = ("subscription", "refused messages", "redrive", "move")


@pytest.mark.parametrize("link", LINKS)
def test_a_link_needs_the_right_to_the_other_queue(shards: TwoShards, link: str) -> None:
    """Whether it exists is not told."""
    for queue in (THERE, name_in(1, "absent")):
        with pytest.raises(NotPermittedError):
            LINKS[link](shards, queue, lambda name: name in (HERE, TOPIC))
    assert shards.waiting() == {}


@pytest.mark.parametrize("link", NEED_QUEUE)
def test_a_link_to_a_queue_that_does_not_exist_is_refused(shards: TwoShards, link: str) -> None:
    absent = name_in(1, "absent")
    with pytest.raises(QueueNotFoundError, match=absent):
        LINKS[link](shards, absent, lambda _: True)
    assert absent not in shards.broker(HERE).core.state.queues


@pytest.mark.parametrize("link", NEED_QUEUE)
def test_a_link_to_a_shard_that_does_not_answer_is_refused_for_now(shards: TwoShards, link: str) -> None:
    shards.is_silent = True
    with pytest.raises(ShardUnavailableError, match="send it again"):
        LINKS[link](shards, THERE, lambda _: True)
    assert THERE not in shards.broker(HERE).core.state.queues


def test_an_endpoint_cannot_have_the_queue_of_another_shard(shards: TwoShards) -> None:
    broker = shards.broker(TOPIC)
    broker.pushes.hosts = PushHosts(["127.0.0.1"])
    with pytest.raises(DifferentShardsError):
        subscribe(shards, lambda _: True, queue=THERE, endpoint="http://127.0.0.1:9/")


def with_outbox(shards: TwoShards) -> None:
    """Let messages for the other shard wait."""
    shards.broker(HERE).produce(HERE, ["x"])
    ids = [each.id for each in shards.messages(HERE)]
    shards.broker(HERE).move(HERE, ids, THERE)
    assert shards.waiting() == {THERE: 1}


REFUSED: dict[str, Callable[[Any], Any]] = {
    "put": lambda broker: broker.put_queue(THERE, max_receives=1),
    "create": lambda broker: broker.create_queue(THERE),
    "produce": lambda broker: broker.produce(THERE, ["x"]),
    "claim": lambda broker: broker.claim(THERE),
    "claim from both": lambda broker: broker.claim_from(Sources((HERE, THERE))),
    "next": lambda broker: broker.next(Sources((HERE, THERE)), []),
    "hand-over": lambda broker: broker.hand_over(HERE, [Target(id=broker.produce(HERE, ["y"])[0])], {THERE: ["x"]}),
    "queue": lambda broker: broker.queue(THERE),
    "settings": lambda broker: broker.settings_of(THERE),
    "messages": lambda broker: list(broker.messages(THERE)),
    "purge": lambda broker: broker.purge(THERE),
    "delete": lambda broker: broker.drop_queue(THERE),
    "redrive": lambda broker: broker.redrives.start(THERE),
}


@pytest.mark.parametrize("call", REFUSED)
def test_an_outbox_is_no_queue_of_its_shard(shards: TwoShards, call: str) -> None:
    with_outbox(shards)
    with pytest.raises(DifferentShardsError, match=THERE):
        REFUSED[call](shards.broker(HERE))
    assert shards.waiting() == {THERE: 1}


def test_no_list_and_no_figure_has_the_outboxes(shards: TwoShards) -> None:
    with_outbox(shards)
    broker = shards.broker(HERE)
    assert broker.queue_names() == [HERE]
    assert [each.name for each in broker.queues()] == [HERE]
    assert list(broker.queues([THERE])) == []
    assert [each.name for each in broker.queue_stats()] == [HERE]
    assert list(broker.messages_of_all()) == []
    assert [each.name for each in broker.overview.current().queues] == [HERE]
    assert {name for name, _ in broker.counters.named()} == {HERE}
    broker.history.run()
    shards.advance(60)
    broker.history.run()
    assert broker.overview.current().totals(None).waiting == 0


def test_metrics_tell_what_waits_and_what_has_crossed(shards: TwoShards) -> None:
    def values() -> dict[str, float]:
        return {
            sample.name: sample.value
            for metric in CrossingCollector(shards.broker(HERE)).collect()
            for sample in metric.samples
            if sample.labels == {"queue": THERE} and not sample.name.endswith("_created")
        }

    with_outbox(shards)
    shards.advance(5)
    assert values() == {"wonderq_crossing_messages": 1, "wonderq_crossing_oldest_age_seconds": 5}
    shards.broker(THERE).put_queue(THERE, draining=True)
    shards.faults = ["no owner"]
    eventually(lambda: shards.turn() or shards.broker(HERE).counters.crossings_refused[THERE])
    shards.broker(THERE).put_queue(THERE, draining=False)
    shards.cross()
    found = values()
    assert (found["wonderq_crossing_messages"], found["wonderq_crossing_sent_total"]) == (0, 1)
    assert found["wonderq_crossing_refused_total"] >= 1
    assert found["wonderq_crossing_failed_total"] == 1


def test_messages_that_wait_survive_compaction(shards: TwoShards) -> None:
    with_outbox(shards)
    broker = shards.broker(HERE)
    broker.produce(HERE, ["y"] * 20)
    for _ in range(2):
        assert compact_oldest(broker, shards.logs[0])
    shards.take_over(0)
    shards.cross()
    assert shards.bodies(THERE) == ["x"]


def test_sources_of_dead_letters_are_found_in_all_shards(shards: TwoShards) -> None:
    near = name_in(1, "near")
    for queue in (HERE, near):
        shards.broker(queue).put_queue(queue, dead_letter_queue=THERE)
    broker = shards.broker(THERE)
    names = sorted([HERE, near])
    assert broker.sources_of(THERE) == names
    assert broker.sources_of(THERE, limit=1) == names[:1]
    assert broker.sources_of(THERE, after=names[0]) == names[1:]
    assert broker.sources_of(THERE, matches=lambda name: name == HERE) == [HERE]
    shards.is_silent = True
    with pytest.raises(ShardUnavailableError):
        broker.sources_of(THERE)
