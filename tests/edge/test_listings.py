"""Listings, counts and searches over all shards: in order, whole, and never a shorter list in silence."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.support.edge_cluster import EdgeCluster, EdgeNode
from tests.support.nats_servers import needs_nats
from wonderq.broker.broker import Broker
from wonderq.broker.queries import Queries
from wonderq.cluster import listings
from wonderq.cluster.overviews import merged_overview
from wonderq.model.errors import TooManyListingsError
from wonderq.rest import listing

pytestmark = needs_nats


@pytest.fixture
def queues(cluster: EdgeCluster) -> list[str]:
    """Return the names of queues in all shards, in order. Each has as many messages as its place."""
    names = sorted(cluster.queue_of(shard, stem) for shard in range(cluster.count) for stem in ("aa", "ab", "b"))
    for count, name in enumerate(names, 1):
        assert cluster.nodes["a"]("PUT", f"/queues/{name}").status == 201
        messages = [f"{name}-{number}" for number in range(count)]
        cluster.nodes["b"]("POST", f"/queues/{name}/messages/produce", json={"messages": messages})
    return names


def names(reply: Any) -> list[str]:
    assert reply.status == 200, reply.content
    return [each["queue"] for each in reply.json]


def test_queues_of_all_shards_are_listed_in_order(cluster: EdgeCluster, queues: list[str]) -> None:
    everything = sorted([*queues, "default"])
    for node in cluster.nodes.values():
        assert names(node("GET", "/queues")) == everything
        assert names(node("GET", "/queues?prefix=a&limit=3")) == queues[:3]
        assert (
            names(node("GET", f"/queues?after={queues[2]}&limit=2"))
            == everything[everything.index(queues[2]) + 1 :][:2]
        )
        assert names(node("GET", "/queues?contains=b&limit=300")) == [each for each in queues if "b" in each]
        in_msgpack = node("GET", "/queues?limit=500", headers={"Accept": "application/msgpack"})
        assert [each["queue"] for each in msgspec.msgpack.decode(in_msgpack.content)] == everything


def test_queues_are_listed_a_page_at_a_time(
    cluster: EdgeCluster, queues: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "PAGE", 2)
    assert names(cluster.nodes["a"]("GET", "/queues")) == sorted([*queues, "default"])
    assert names(cluster.nodes["a"]("GET", "/queues?limit=5")) == sorted([*queues, "default"])[:5]


def test_the_largest_queues_of_all_shards_come_first(cluster: EdgeCluster, queues: list[str]) -> None:
    reply = cluster.nodes["a"]("GET", "/queues?sort=unprocessed&limit=4")
    assert names(reply) == queues[:-5:-1]
    assert "figures" not in reply.json[0]
    assert names(cluster.nodes["b"]("GET", "/queues?sort=bytes&limit=2&figures=true")) == queues[:-3:-1]


@pytest.mark.parametrize(
    "target",
    [
        *("/queues", "/queues?limit=2", "/queues?sort=bytes", "/overview", "/overview/history", "/overview/broker"),
        *("/topics", "/schedules", "/redrives", "/search?contains=zzz&examine=100000"),
    ],
)
@pytest.mark.parametrize("retry_s", [0.05])
def test_a_listing_fails_while_a_shard_has_no_owner(cluster: EdgeCluster, queues: list[str], target: str) -> None:
    del cluster.nodes["b"].shards.brokers[3]
    cluster.hear(3, None)
    reply = cluster.nodes["a"]("GET", target)
    assert (reply.status, reply.code) == (503, "shard_unavailable")
    assert "Shard 3 " in reply.json["error"]["message"]


def test_the_refusal_of_a_shard_is_that_of_the_listing(cluster: EdgeCluster) -> None:
    for target in ("/queues?limit=0", "/queues?nothing=1", "/topics?limit=0", "/search?status=none", "/schedules?x=1"):
        reply = cluster.nodes["a"]("GET", target)
        assert reply.status == 400, (target, reply.content)


def cut_off(node: EdgeNode, target: str) -> bytes:
    """Return the part of a response that arrives before it is cut off."""
    with pytest.raises(http.client.IncompleteRead) as caught:
        node("GET", target)
    return caught.value.partial


def assert_one_sentence(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Check that the log has one line with the reason, and no traceback."""
    lines = [each for each in caplog.records if each.levelno >= logging.WARNING and "log is lost" not in each.message]
    assert [reason in each.getMessage() for each in lines] == [True], caplog.text
    assert "Traceback" not in caplog.text


def after_calls(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, calls: int, event: Callable[[], object]
) -> None:
    """Let an event happen before one of the calls of a method."""
    real, left = getattr(kind, name), iter(range(calls))

    def called(*arguments: Any) -> Any:
        if next(left, None) is None:
            event()
        return real(*arguments)

    monkeypatch.setattr(kind, name, called)


@pytest.mark.parametrize("refusal", ["no owner", "refused"])
def test_a_long_listing_is_cut_off_when_a_shard_is_lost_and_the_log_has_one_sentence(
    cluster: EdgeCluster,
    queues: list[str],
    refusal: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lose() -> None:
        if refusal == "refused":
            for each in cluster.nodes.values():
                for broker in each.shards.brokers.values():
                    monkeypatch.setattr(broker, "queue_names", refuse)
        else:
            cluster.nodes["b"].shards.brokers.pop(3, None)
            cluster.hear(3, None)

    def refuse(*_: Any, **__: Any) -> Any:
        raise TooManyListingsError(1)

    monkeypatch.setattr(listings, "PAGE", 1)
    monkeypatch.setattr(listing, "_PIECE_BYTES", 1)
    after_calls(monkeypatch, listings.Listings, "_page", cluster.count + 6, lose)
    part = cut_off(cluster.nodes["a"], "/queues")
    assert part.startswith(b"[{")
    assert not part.endswith(b"]\n")
    assert_one_sentence(caplog, "Shard 3 " if refusal == "no owner" else "Shard ")


@pytest.mark.parametrize("node", ["owner", "other"])
def test_a_listing_of_messages_survives_or_is_cut_off_when_the_owner_loses_its_shard(
    cluster: EdgeCluster, node: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other node asks the next owner for the rest; the owner itself has begun a response that it cannot end."""
    queue = cluster.queue_of(1)
    messages = [str(number) for number in range(600)]
    cluster.owner(queue)("POST", f"/queues/{queue}/messages/produce", json={"messages": messages})
    asked = cluster.owner(queue) if node == "owner" else cluster.other(queue)
    next_owner = cluster.other(queue).name
    taken: list[Broker] = []

    def lose() -> None:
        if not taken:
            taken.append(cluster.open(1, next_owner))
            cluster.hear(1, next_owner)

    monkeypatch.setattr(listing, "_PIECE_BYTES", 1)
    monkeypatch.setattr(listings, "PAGE", 300)
    after_calls(monkeypatch, Queries, "_some", 1 if node == "owner" else 2, lose)
    if node == "owner":
        part = cut_off(asked, f"/queues/{queue}/dev/messages")
        assert part.startswith(b"[{")
        assert not part.endswith(b"]\n")
        assert_one_sentence(caplog, "taken over")
    else:
        reply = asked("GET", f"/queues/{queue}/dev/messages")
        assert [each["message"] for each in reply.json] == messages
        assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", ["", "/status?status=unprocessed"])
def test_a_long_listing_of_messages_is_read_in_pages(
    cluster: EdgeCluster, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "PAGE", 50)
    queue = cluster.queue_of(1)
    messages = [str(number) for number in range(230)]
    cluster.owner(queue)("POST", f"/queues/{queue}/messages/produce", json={"messages": messages})
    joint = "&" if "?" in path else "?"
    for query, expected in (("", messages), ("limit=120", messages[:120]), ("order=newest", messages[::-1])):
        reply = cluster.other(queue)("GET", f"/queues/{queue}/dev/messages{path}{joint}{query}".rstrip("?&"))
        assert [each["message"] for each in reply.json] == expected


def test_a_search_goes_through_all_shards(cluster: EdgeCluster, queues: list[str]) -> None:
    found: list[str] = []
    after, rounds = "", 0
    while after is not None:
        query = f"contains=-1&limit=2&examine=7{'&after=' + quote(after) if after else ''}"
        part = cluster.nodes["a"]("GET", f"/search?{query}").json
        assert part["examined"] <= 7
        found += [each["message"] for each in part["messages"]]
        after, rounds = part["next_after"], rounds + 1
    expected = [f"{name}-{n}" for c, name in enumerate(queues, 1) for n in range(c) if "-1" in f"{name}-{n}"]
    assert sorted(found) == sorted(expected)
    assert rounds > len(queues)
    refused = cluster.nodes["a"]("GET", "/search?after=nonsense")
    assert (refused.status, refused.code) == (400, "invalid_value")


def test_the_overview_adds_the_shards_up(cluster: EdgeCluster, queues: list[str]) -> None:
    total = sum(range(1, len(queues) + 1))
    for node in cluster.nodes.values():
        overview = node("GET", "/overview").json
        assert (overview["queues"], overview["counts"]["unprocessed"]) == (len(queues) + 1, total)
        assert overview["ready"]
        limits = {each["name"]: each["used"] for each in node("GET", "/overview/broker").json["limits"]}
        assert limits["queues"] == len(queues) + 1
        history = node("GET", "/overview/history").json
        assert len(history["waiting"]) == len(history["produced"])


def test_shards_without_queues_have_a_history(cluster: EdgeCluster) -> None:
    """Most shards of a young cluster have no queue."""
    reply = cluster.nodes["a"]("GET", "/overview/history")
    assert reply.status == 200, reply.content
    assert sum(reply.json["lifetime"]["counts"]) == 0


def problem(code: str, queue: str | None = None) -> dict[str, Any]:
    return {"code": code, "severity": "error", "message": f"{code} {queue}", "queue": queue, "topic": None}


def test_an_overview_has_each_problem_once(cluster: EdgeCluster) -> None:
    of_process, other = problem("clock"), problem("late", "b")
    one = cluster.nodes["a"]("GET", "/overview").json | {"more_problems": 3}
    parts = [one | {"problems": [of_process, other]}, one | {"problems": [problem("late", "a"), of_process]}]
    merged = merged_overview(parts)
    assert merged["problems"] == [of_process, other, problem("late", "a")]
    assert merged["more_problems"] == 6


def test_topics_schedules_and_redrives_of_all_shards(cluster: EdgeCluster) -> None:
    stems = sorted(cluster.queue_of(shard, "t") for shard in range(cluster.count))
    for node, stem in zip([*cluster.nodes.values()] * 2, stems, strict=True):
        assert node("PUT", f"/topics/{stem}").status == 201
        schedule = {"cron": "0 4 * * *", "queue": stem, "message": "x"}
        assert node("PUT", f"/schedules/{stem}", json=schedule).status == 201
        assert node("PUT", f"/queues/{stem}").status == 201
        assert node("PUT", f"/queues/{stem}--dead").status == 201
        redrive = {"destination": stem}
        assert node("POST", f"/queues/{stem}--dead/redrive", json=redrive).status == 202
    for node in cluster.nodes.values():
        assert [each["topic"] for each in node("GET", "/topics").json] == stems
        assert [each["topic"] for each in node("GET", "/topics?limit=2").json] == stems[:2]
        assert len(node("GET", f"/queues?limit={1 << 63}").json) == len(node("GET", "/queues").json)
        assert [each["name"] for each in node("GET", "/schedules").json] == stems
        assert [each["name"] for each in node("GET", f"/schedules?limit=2&after={stems[0]}").json] == stems[1:3]
        assert {each["queue"] for each in node("GET", "/redrives").json} == {f"{stem}--dead" for stem in stems}
        assert node("GET", f"/schedules/{stems[0]}").json["queue"] == stems[0]
    assert cluster.nodes["b"]("DELETE", f"/schedules/{stems[0]}").status == 200
    assert cluster.nodes["a"]("DELETE", f"/schedules/{stems[0]}").code == "schedule_not_found"


def test_the_documentation_and_the_pages_of_the_dashboard_are_on_every_node(cluster: EdgeCluster) -> None:
    for node in cluster.nodes.values():
        assert [node("GET", path).status for path in ("/docs", "/openapi.json", "/ui", "/ui/queues/a")] == [200] * 4
        assert node("GET", "/cron/times?cron=0%204%20*%20*%20*").json["words"]
