"""`wonderq cluster import`: what belongs together in a broker's folder may get into different shards."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.commands import run
from tests.support.edge_cluster import EdgeCluster
from tests.support.nats_servers import needs_nats
from wonderq.broker.broker import Broker
from wonderq.model.messages import NewMessage
from wonderq_storage import FileLog

pytestmark = needs_nats


def test_queues_topics_and_schedules_with_links_to_other_shards_are_imported(
    cluster: EdgeCluster, tmp_path: Path
) -> None:
    here, there, topic, schedule = (cluster.queue_of(shard) for shard in range(4))
    with closing(FileLog(tmp_path / "source")) as log, closing(Broker(log)) as broker:
        broker.put_queue(there)
        broker.put_queue(here, dead_letter_queue=there, max_receives=2)
        broker.send(here, [NewMessage("a"), NewMessage("b")])
        broker.topics.put(topic)
        broker.topics.subscribe(topic, "s", queue=here, dead_letter_queue=there, when_full="skip")
        broker.schedules.put(schedule, cron="0 4 * * *", queue=here, body="go")
    for _ in range(2):
        done = run("cluster", "import", str(tmp_path / "source"), "--url", cluster.nodes["a"].url)
        assert (done.code, done.error) == (0, "")
    node = cluster.nodes["b"]

    def answer(target: str) -> Any:
        reply = node("GET", target)
        assert reply.status == 200, reply.content
        return reply.json

    assert answer(f"/queues/{here}")["settings"]["dead_letter_queue"] == there
    assert [each["message"] for each in answer(f"/queues/{here}/dev/messages")] == ["a", "b"]
    [subscription] = answer(f"/topics/{topic}/subscriptions")
    assert (subscription["queue"], subscription["dead_letter_queue"]) == (here, there)
    assert answer(f"/schedules/{schedule}")["queue"] == here
