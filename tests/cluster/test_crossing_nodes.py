"""Three real nodes: what crosses between their shards arrives once, whichever node is killed meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from tests.support.cluster_processes import SHARDS, ClusterProcesses
from tests.support.nats_servers import needs_nats
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.cluster.forwarding import ANSWER_S
from wonderq.cluster.shard_map import shard_of

pytestmark = [pytest.mark.slow, needs_nats]


def names(stem: str) -> list[str]:
    """Return a name for each shard."""
    return [next(name for at in count() if shard_of(name := f"{stem}{at}", SHARDS) == shard) for shard in range(SHARDS)]


class Publisher:
    """Publishes to topics of all shards until it is ended."""

    def __init__(self, cluster: ClusterProcesses, topics: list[str]) -> None:
        self.acknowledged: dict[str, list[str]] = {topic: [] for topic in topics}
        self._cluster = cluster
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in count():
            for topic, acknowledged in self.acknowledged.items():
                if self._ending.is_set():
                    return
                fields = {"message": f"{number}", "idempotency_key": f"{number}"}
                if self._publish(topic, fields):
                    acknowledged.append(f"{number}")

    def _publish(self, topic: str, fields: dict[str, str]) -> bool:
        """Publish a message, and repeat that with its key while nobody knows what came of it."""
        while not self._ending.is_set():
            reply = self._cluster.carry_out("POST", f"/topics/{topic}/publish", fields)
            if reply.status == 201:
                return True
            assert reply.status in (0, 503), reply
        return False

    def await_more(self) -> None:
        before = sum(map(len, self.acknowledged.values()))
        eventually(lambda: sum(map(len, self.acknowledged.values())) >= before + 30, "more publishes")

    def end(self) -> None:
        self._ending.set()
        self._thread.join(PATIENCE_S)


def linked(cluster: ClusterProcesses, stem: str) -> dict[str, str]:
    """Return for a topic of each shard the queue of the next shard that has subscribed to it."""
    topics, queues = names(f"topic-{stem}-"), names(f"queue-{stem}-")
    links = dict(zip(topics, queues[1:] + queues[:1], strict=True))
    for topic, queue in links.items():
        assert cluster.carry_out("PUT", f"/queues/{queue}", {}).status in (200, 201)
        assert cluster.carry_out("PUT", f"/topics/{topic}", {}).status in (200, 201)
        fields = {"queue": queue}
        assert cluster.carry_out("PUT", f"/topics/{topic}/subscriptions/s", fields).status in (200, 201)
    return links


def bodies(cluster: ClusterProcesses, queue: str) -> list[str]:
    reply = cluster.carry_out("GET", f"/queues/{queue}/dev/messages")
    return [each["message"] for each in reply.json] if reply.status == 200 else []


@pytest.mark.parametrize("killed", ["a", "bc"])
def test_publishes_cross_once_and_in_order_while_nodes_are_killed(cluster: ClusterProcesses, killed: str) -> None:
    links = linked(cluster, killed)
    publisher = Publisher(cluster, list(links))
    try:
        for name in killed:
            publisher.await_more()
            cluster[name].kill()
            cluster.await_owners(*({"a", "b", "c"} - {name}))
            publisher.await_more()
            cluster[name].start()
            cluster.await_owners("a", "b", "c")
        publisher.await_more()
    finally:
        publisher.end()
    for topic, queue in links.items():
        expected = publisher.acknowledged[topic]

        def has_all(queue: str = queue, expected: list[str] = expected) -> bool:
            return set(expected) <= set(bodies(cluster, queue))

        eventually(has_all, f"all messages of {topic} to be in {queue}")
        found = bodies(cluster, queue)
        assert [each for each, times in Counter(found).items() if times > 1] == [], "none is there twice"
        assert [each for each in found if each in set(expected)] == expected, "they are in order"


def test_a_dead_letter_crosses_and_is_brought_back(cluster: ClusterProcesses) -> None:
    here, there = names("h")[0], names("d")[1]
    assert cluster.carry_out("PUT", f"/queues/{there}", {}).status in (200, 201)
    fields = {"dead_letter_queue": there, "max_receives": 1, "visibility_timeout": 1}
    assert cluster.carry_out("PUT", f"/queues/{here}", fields).status in (200, 201)
    assert cluster.carry_out("POST", f"/queues/{here}/messages/produce", {"message": "x"}).status == 201
    assert len(cluster.carry_out("GET", f"/queues/{here}/messages/consume").json) == 1
    eventually(lambda: bodies(cluster, there) == ["x"], "the dead letter to cross")
    reply = cluster.carry_out("POST", f"/queues/{there}/redrive", {})
    assert reply.status in (201, 202), reply
    eventually(lambda: bodies(cluster, here) == ["x"], "the message to come back")
    assert bodies(cluster, there) == []


def test_a_node_that_stops_does_not_wait_for_a_frozen_one(tmp_path: Path) -> None:
    """On a busy machine, the node may take the shards of the frozen one first. Then it has nobody to wait for."""

    def has_been_tested(attempt: int) -> bool:
        folder = tmp_path / f"{attempt}"
        folder.mkdir()
        with ClusterProcesses(folder, "abc", "--shards", str(SHARDS)) as cluster:
            return stops_while_another_one_is_frozen(cluster)

    assert any(map(has_been_tested, range(5))), "the node took the shards of the frozen one first each time"


def stops_while_another_one_is_frozen(cluster: ClusterProcesses) -> bool:
    """Stop a node that has a message for a frozen one, and return whether it waited for its answer then."""
    cluster.await_owners("a", "b", "c")
    stopping, absent, frozen = cluster.nodes
    absent.kill()  # so that nobody else takes the shards of the frozen one
    cluster.await_owners("a", "c")
    owners = stopping.owners()
    shard = owners.index("c")
    topic, queue = names("topic-")[owners.index("a")], names("queue-")[shard]
    for path, fields in (
        (f"/queues/{queue}", {}),
        (f"/topics/{topic}", {}),
        (f"/topics/{topic}/subscriptions/s", {"queue": queue}),
    ):
        assert stopping("PUT", path, fields).status == 201
    before = stopping.log()
    frozen.freeze()
    try:
        assert stopping("POST", f"/topics/{topic}/publish", {"message": "x"}).status == 201

        def waits() -> bool:
            return stopping.metric("wonderq_forwarded_requests_waiting") > 0

        eventually(lambda: waits() or stopping.owners()[shard] != "c", "the message to be passed on")
        waited = waits()
        assert stopping.stop(ANSWER_S / 2) == 0
    finally:
        frozen.thaw()
    assert "stopped cleanly" in stopping.log()
    eventually(lambda: bodies(cluster, queue) == ["x"], "the message to arrive from its new owner")
    return waited and f"this node owns shard {shard}," not in stopping.log().removeprefix(before)
