"""Requests at a node that does not own the queue: one code path with the owner, and what happens when it moves."""

from __future__ import annotations

from tests.support.edge_cluster import EdgeCluster


def test_any_node_answers_for_any_queue(cluster: EdgeCluster) -> None:
    for shard in range(cluster.count):
        queue = cluster.queue_of(shard)
        owner, other = cluster.owner(queue), cluster.other(queue)
        produced = other("POST", f"/queues/{queue}/messages/produce", json={"message": "one"})
        assert produced.status == 201, produced.content
        [message] = owner("GET", f"/queues/{queue}/messages/consume").json
        assert (message["id"], message["message"]) == (produced.json["id"], "one")
        deleted = other("DELETE", f"/queues/{queue}/messages/{message['id']}", json={"receipt": message["receipt"]})
        assert deleted.status == 200, deleted.content
        assert owner("GET", f"/queues/{queue}/dev/messages/count?status=unprocessed").json["count"] == 0
