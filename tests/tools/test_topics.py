"""The tools on a folder with topics, and with messages that several queues share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.states import contents_of
from tests.tools.copies import opened
from tests.tools.folders import broker_on, compact_all
from tests.tools.test_rotten_entries import repaired, rot
from wonderq.broker.broker import Broker
from wonderq.folder.compact import compact, estimate
from wonderq.folder.export import export
from wonderq.folder.import_ import Importer, into_folder
from wonderq.folder.inspect import history, overview_object, record_objects, survey
from wonderq.folder.reset_clock import reset_clock
from wonderq.folder.verify import verify
from wonderq.model.errors import InvalidValueError
from wonderq.model.messages import NewMessage, Target
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication
from wonderq.rest.objects import subscription_object
from wonderq.runtime.clock import Clock
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq_storage import FileLog
from wonderq_storage.salvage import Problem

KIND: dict[str, Any] = {"kind": ("String", "big")}
QUEUES = ("a", "line.fifo", "some", "wrapped")


def publish(broker: Broker, *bodies: str, **fields: Any) -> None:
    broker.topics.publish("orders", [Publication(NewMessage(body, **fields), "news") for body in bodies])


def set_up(broker: Broker) -> None:
    broker.topics.put("orders", tags={"team": "é"}, deduplication_window_ms=60_000)
    for queue in QUEUES:
        broker.put_queue(queue)
        fields: dict[str, Any] = {"raw": queue != "wrapped", "filter": {"kind": ["big"]} if queue == "some" else None}
        broker.topics.subscribe("orders", queue.removesuffix(".fifo"), queue=queue, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with broker_on(tmp_path / "data", segment_bytes=1 << 16) as (broker, log):
        set_up(broker)
        publish(broker, "one", "two", attributes=KIND, group="g", key="")
        publish(broker, "three", key="k", delay_ms=3_600_000)
        log.rotate()
        log.sync()
        compact_all(broker, log, 1)
        publish(broker, "four", attributes=KIND)
        [taken] = broker.claim("a", limit=1)
        broker.delete("a", Target(taken.id, taken.receipt))
    return tmp_path / "data"


def state_in(folder: Path, now_ms: int) -> dict[str, Any]:
    log = FileLog(folder)
    try:
        return contents_of(replay_log(log)[0], now_ms)
    finally:
        log.close()


def test_it_verifies_and_a_repair_changes_nothing(folder: Path, tmp_path: Path) -> None:
    assert verify(folder).problems == []
    repaired(folder, tmp_path / "new")
    assert list(export(tmp_path / "new")) == list(export(folder))
    now_ms = Clock().now_ms()
    after, before = state_in(tmp_path / "new", now_ms), state_in(folder, now_ms)
    for part in ("topics", "subscribed", "saved", "sums"):
        assert after[part] == before[part]


def test_inspect_shows_topics_records_and_the_history_of_a_message(folder: Path) -> None:
    found = overview_object(survey(folder))
    [topic] = found["topics"]
    assert (topic["topic"], topic["published"], topic["subscriptions"]) == ("orders", 4, 4)
    assert all(each["dead_bytes"] >= 0 for each in found["segments"])
    assert found["records"]["publish"] >= 1
    assert found["records"]["restate"] == 2
    problems: list[Problem] = []
    records = list(record_objects(folder, problems, bodies=True))
    first_two, third = [each for each in records if each["kind"] == "restate"]
    assert (first_two["messages"], third["messages"]) == (["one", "two"], ["three"])
    assert {each["queue"] for each in first_two["queues"]} == {each["number"] for each in found["queues"]} - {1}
    assert problems == []
    json.dumps(records)
    with broker_on(folder) as (broker, _):
        [first, *_, last] = broker.messages("wrapped")
    events = {each.what: each.detail for each in history(folder, last.id)[0]}
    assert list(events) == ["published"]
    assert [each.what for each in history(folder, first.id)[0]] == ["rewritten"]


def test_compact_estimates_and_keeps_it(folder: Path) -> None:
    now_ms = Clock().now_ms()
    before = state_in(folder, now_ms)
    assert estimate(folder).after.log_bytes > 0
    compact(folder)
    after = state_in(folder, now_ms)
    assert (after["topics"], after["subscribed"]) == (before["topics"], before["subscribed"])


@pytest.mark.parametrize("topics", [0, 300])
def test_the_estimate_of_topics_is_what_comes_out(tmp_path: Path, topics: int) -> None:
    with opened(tmp_path / "data", segment_bytes=32 << 20) as broker:
        set_up(broker)
        if not topics:
            publish(broker, *["b" * 2000] * 400, attributes=KIND)
        for number in range(topics):
            broker.topics.put(f"topic-{number}", tags={"team": "t" * 100})
            for queue in ("a", "some"):
                broker.topics.subscribe(f"topic-{number}", queue, queue=queue, filter={"kind": ["big"]})
    expected = estimate(tmp_path / "data").after
    done = compact(tmp_path / "data").after
    assert 0.9 < expected.log_bytes / done.log_bytes < 1.1


def test_a_clock_that_was_ahead_is_reset(tmp_path: Path) -> None:
    class Ahead(Clock):
        def now_ms(self) -> int:
            return super().now_ms() + 86_400_000

    log = FileLog(tmp_path / "data")
    broker = Broker(log, clock=Ahead())
    set_up(broker)
    publish(broker, "one", key="k")
    publish(broker, "two", delay_ms=1000)
    log.close()
    reset_clock(tmp_path / "data")
    now_ms = Clock().now_ms()
    with broker_on(tmp_path / "data") as (broker, _):
        state = broker.core.state
        assert state.last_ms <= now_ms
        topic = state.topics["orders"]
        assert max(topic.created_ms, *(each.created_ms for each in topic.subscriptions.values())) <= now_ms
        assert [each.until_ms <= now_ms + 60_000 for each in topic.dedup.entries()] == [True]
        for queue in ("a", "line.fifo", "wrapped"):
            assert all(each.produced_ms <= now_ms for each in broker.messages(queue))
            assert all((each.due_ms or 0) <= now_ms + 1000 for each in broker.messages(queue))


@pytest.mark.parametrize("bit", [0, 45])
@pytest.mark.parametrize("restated", [False, True])
def test_a_rotten_body_is_lost_in_all_its_queues(tmp_path: Path, bit: int, restated: bool) -> None:
    with broker_on(tmp_path / "data", segment_bytes=1 << 16) as (broker, log):
        set_up(broker)
        rot(broker, "rotten", bit)
        publish(broker, "good", "rotten", "better", attributes=KIND)
        if restated:
            log.rotate()
            log.sync()
            compact_all(broker, log, 1)
    assert len(verify(tmp_path / "data").problems) == len(QUEUES)
    done, _ = repaired(tmp_path / "data", tmp_path / "new")
    assert done.losses.count() == len(QUEUES)
    with broker_on(tmp_path / "new") as (broker, _):
        for queue in ("a", "line.fifo", "some"):
            assert [each.body for each in broker.messages(queue)] == ["good", "better"]
        assert len(list(broker.messages("wrapped"))) == 2
        assert len(broker.topics.subscriptions("orders")) == len(QUEUES)


def test_a_rotten_head_costs_only_the_queue_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Any], bytes] = record.encode_head
    with broker_on(tmp_path / "data", segment_bytes=1 << 16) as (broker, _):
        set_up(broker)
        monkeypatch.setattr(record, "encode_head", lambda fields: real(fields)[:-1] + b"\xff")
        publish(broker, "one")
    assert len(verify(tmp_path / "data").problems) == 1
    done, _ = repaired(tmp_path / "data", tmp_path / "new")
    assert done.losses.count() == 1
    with broker_on(tmp_path / "new") as (broker, _):
        assert [each.body for each in broker.messages("a")] == ["one"]
        assert list(broker.messages("wrapped")) == []


def test_export_and_import(folder: Path, tmp_path: Path) -> None:
    lines = list(export(folder))
    topics = [each for each in lines if each["type"] in ("topic", "subscription")]
    assert [each["type"] for each in topics] == ["topic"] + ["subscription"] * 4
    with into_folder(tmp_path / "new") as target:
        importer = Importer(target)
        importer.run([json.dumps(each).encode() for each in lines])
    assert (importer.topics, importer.messages) == (1, sum(each["type"] == "message" for each in lines))
    imported = [each for each in export(tmp_path / "new") if each["type"] in ("topic", "subscription")]
    for each in (*topics, *imported):
        del each["created_at"]
    assert imported == topics
    with broker_on(folder) as (broker, _):
        wrapped = [each.body for each in broker.messages("wrapped")]
    with broker_on(tmp_path / "new") as (broker, _):
        assert [each.body for each in broker.messages("wrapped")] == wrapped
        assert wrapped[0].startswith('{"Type": "Notification"')


def test_endpoints_are_exported_with_their_secrets_and_imported(tmp_path: Path) -> None:
    with broker_on(tmp_path / "data") as (broker, _):
        broker.pushes.hosts = PushHosts(("hooks.example.com",))
        broker.topics.put("orders")
        url, delivery = "https://hooks.example.com/", {"retries": 7}
        secret = broker.topics.subscribe("orders", "shop", endpoint=url, delivery=delivery)[0].secret
        broker.topics.subscribe("orders", "sns", endpoint=f"{url}2", style="sns")
        pending = Push(f"{url}3", "sns", confirmed=False, token="0" * 96)
        broker.topics.subscribe("orders", "pending", push=pending)
        publish(broker, "waits")
    lines = [json.dumps(each).encode() for each in export(tmp_path / "data")]
    with into_folder(tmp_path / "new") as target:
        importer = Importer(target)
        importer.run(lines)
    with broker_on(tmp_path / "new") as (broker, _):
        [sns, shop] = broker.topics.subscriptions("orders")[::-1]
        assert shop.subscription.push == Push(url, secret=secret, delivery=delivery, owns_queue=False)
        assert sns.subscription.push == Push(f"{url}2", "sns", owns_queue=False)
        assert [each.body for each in broker.messages(shop.queue)] == ["waits"]


def test_a_filter_with_half_a_character_of_an_earlier_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a text is stored and no program can read it, so everybody sees a replacement character."""
    with broker_on(tmp_path / "data") as (broker, _):
        broker.topics.put("orders")
        broker.put_queue("q")
        monkeypatch.setattr("wonderq.broker.topics._check_filter", lambda _: None)
        broker.topics.subscribe("orders", "s", queue="q", filter={"a": ["\ud800", "é"]})
        monkeypatch.undo()
        with pytest.raises(InvalidValueError, match="lone surrogate"):
            broker.topics.subscribe("orders", "s", filter={"\ud800": ["x"]})
    lines = list(export(tmp_path / "data"))
    [line] = [msgspec.json.decode(msgspec.json.encode(each)) for each in lines if each["type"] == "subscription"]
    assert line["filter"] == {"a": ["\ufffd", "é"]}
    with broker_on(tmp_path / "data") as (broker, _):
        found = broker.topics.subscribe("orders", "s", paused=True)[0]
        assert subscription_object(found)["filter"] == line["filter"]
        broker.topics.subscribe("orders", "s", paused=False)
        assert [each.matches for each in broker.topics.match("orders", Publication(NewMessage("x")))] == [False]
        publish(broker, "one")
