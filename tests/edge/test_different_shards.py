"""Requests that need two shards at once are refused, and nothing of them is carried out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.edge_cluster import EdgeCluster
from tests.support.nats_servers import needs_nats

pytestmark = needs_nats


@pytest.fixture
def pair(cluster: EdgeCluster) -> tuple[str, str]:
    """Return two queues of different shards, of different nodes."""
    pair = cluster.queue_of(0), cluster.queue_of(1)
    for each in pair:
        cluster.nodes["a"]("PUT", f"/queues/{each}")
    return pair


def claim(cluster: EdgeCluster, queue: str) -> str:
    node = cluster.nodes["a"]
    node("POST", f"/queues/{queue}/messages/produce", json={"message": "x"})
    [message] = node("GET", f"/queues/{queue}/messages/consume").json
    receipt: str = message["receipt"]
    return receipt


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/messages/consume", {"queues": ["{here}", "{there}"]}),
        (
            "POST",
            "/messages/consume",
            {"queues": [{"queue": "{here}", "weight": 1}, {"queue": "{there}", "weight": 2}]},
        ),
        ("POST", "/messages/next", {"queues": ["{here}", "{there}"]}),
    ],
)
def test_a_request_for_two_shards_is_refused_by_every_node(
    cluster: EdgeCluster, pair: tuple[str, str], method: str, path: str, fields: Any
) -> None:
    here, there = pair

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return value.format(here=here, there=there)
        if isinstance(value, list):
            return [filled(each) for each in value]
        return {name: filled(each) for name, each in value.items()} if isinstance(value, dict) else value

    before = cluster.nodes["a"]("GET", "/queues").json
    for node in cluster.nodes.values():
        reply = node(method, filled(path), json=filled(fields))
        assert (reply.status, reply.code) == (409, "different_shards"), reply.content
        assert there in reply.json["error"]["message"]
        assert "--" in reply.json["error"]["message"], "how to name queues that belong together"
    after = cluster.nodes["a"]("GET", "/queues").json
    assert [each["settings"] for each in before] == [each["settings"] for each in after]


def test_a_hand_over_to_another_shard_is_refused_and_the_claim_stays(
    cluster: EdgeCluster, pair: tuple[str, str]
) -> None:
    here, there = pair
    receipt = claim(cluster, here)
    for node in cluster.nodes.values():
        fields = {"receipts": [receipt], "produce": [{"queue": there, "message": "y"}]}
        reply = node("POST", f"/queues/{here}/messages/hand-over", json=fields)
        assert (reply.status, reply.code) == (409, "different_shards"), reply.content
    count = f"/queues/{there}/dev/messages/count?status=unprocessed"
    assert cluster.nodes["a"]("GET", count).json["count"] == 0
    deleted = cluster.nodes["b"]("POST", f"/queues/{here}/messages/delete", json={"receipts": [receipt]})
    assert deleted.json["success"], "the receipt is still good"


def test_queues_of_one_name_are_together_and_work_from_every_node(cluster: EdgeCluster) -> None:
    stem = cluster.queue_of(1)
    node = cluster.other(stem)
    assert node("PUT", f"/queues/{stem}--dead").status == 201
    assert node("PUT", f"/queues/{stem}", json={"dead_letter_queue": f"{stem}--dead", "max_receives": 1}).status == 201
    receipt = claim(cluster, stem)
    fields = {"receipts": [receipt], "produce": [{"queue": f"{stem}--next", "message": "y"}]}
    assert node("POST", f"/queues/{stem}/messages/hand-over", json=fields).status == 201
    both = {"queues": [stem, f"{stem}--next"], "max": 5}
    assert [each["message"] for each in node("POST", "/messages/consume", json=both).json] == ["y"]


def test_requests_without_a_queue_are_for_default(cluster: EdgeCluster) -> None:
    for node in cluster.nodes.values():
        assert node("POST", "/messages/produce", json={"message": "d"}).status == 201
        assert [each["queue"] for each in node("POST", "/messages/consume", json={}).json] == ["default"]
        assert node("GET", "/dev/messages/count?status=processing").json["count"] >= 1
        refused = node("POST", "/messages/consume", json={"queues": "x"})
        assert refused.status == 400
