"""Real nodes without room: a log that is full stops sends to its shard alone, and a full disk stops one copy alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cluster_processes import ClusterLoad, ClusterProcesses, await_whole
from tests.support.nats_servers import needs_nats
from tests.support.tmpfs import Tmpfs
from tests.support.waiting import eventually
from wonderq.cluster.shard_map import shard_of

pytestmark = [pytest.mark.slow, needs_nats]

SHARDS = 3
FULL, OTHER = next(
    (a, b) for a in ["full"] for b in map("other{}".format, range(9)) if shard_of(a, 3) != shard_of(b, 3)
)

_BATCH = {"messages": [{"message": "x" * (1 << 20)}] * 3}


def test_a_full_log_refuses_sends_to_its_shard_until_there_is_room(tmp_path: Path) -> None:
    with ClusterProcesses(tmp_path, "a", "--shards", str(SHARDS)) as cluster:
        cluster.await_owners("a")
        node = cluster["a"]

        def send(queue: str) -> int:
            return cluster.carry_out("POST", f"/queues/{queue}/messages/produce", _BATCH).status

        acknowledged = 0
        while (status := send(FULL)) == 201:
            acknowledged += 3
        assert status == 507
        assert acknowledged * (1 << 20) > (32 << 20), "most of the log's 64 MiB could be used"
        assert node("GET", f"/queues/{FULL}").json["counts"]["unprocessed"] == acknowledged, "nothing was half done"
        assert send(OTHER) == 201, "the other shards have logs of their own"
        found = node("GET", f"/queues/{FULL}/messages/consume?max=2").json
        for each in found:
            path = f"/queues/{FULL}/messages/{each['id']}?receipt={each['receipt']}"
            assert node("DELETE", path).status == 200, "claims and deletes go on"
        assert node("POST", f"/queues/{FULL}/purge").status == 200
        eventually(lambda: send(FULL) == 201, "compaction to make room")


def test_a_full_disk_of_one_node_stops_its_copies_alone(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "c", size_bytes=1 << 30) as disk:
        if disk.why_not:
            pytest.skip(f"a small disk cannot be mounted here: {disk.why_not}")
        with ClusterProcesses(tmp_path, "abc", "--shards", str(SHARDS)) as cluster:
            cluster.await_owners("a", "b", "c")
            with ClusterLoad(cluster, "room") as load:
                load.await_more()
                disk.fill()
                load.await_more(200)
                disk.make_room()
                cluster["c"].end()
                cluster["c"].start()
                cluster.await_owners("a", "b", "c")
                load.await_more()
            load.check()
            await_whole(cluster["a"])
