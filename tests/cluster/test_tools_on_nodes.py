"""Backup, restore, check and replacement with real nodes, which work meanwhile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_processes import SHARDS, ClusterLoad, ClusterProcesses, NodeProcess, await_whole
from tests.support.commands import Outcome, run_process
from tests.support.nats_servers import needs_nats
from tests.support.waiting import eventually
from wonderq_storage.nats.local_servers import free_ports

pytestmark = [pytest.mark.slow, needs_nats]


def wonderq(*arguments: str) -> Outcome:
    done = run_process("cluster", *arguments)
    assert done.code == 0, done.error
    return done


def rows(done: Outcome) -> list[Any]:
    return [json.loads(line) for line in done.lines]


def test_a_backup_under_load_is_restored_into_a_new_cluster(cluster: ClusterProcesses, tmp_path: Path) -> None:
    queues = [f"saved-{number}" for number in range(12)]
    for number, queue in enumerate(queues):
        assert cluster.carry_out("POST", f"/queues/{queue}/messages/produce", {"message": f"m{number}"}).status == 201
    claim = cluster.carry_out("GET", f"/queues/{queues[0]}/messages/consume?visibility_timeout=3600").json[0]
    target = tmp_path / "backups"
    with ClusterLoad(cluster, "backup") as load:
        load.await_more()
        wonderq("backup", str(target), "--data", str(cluster["a"].folder))
        load.await_more()
        (second,) = rows(wonderq("backup", str(target), "--data", str(cluster["b"].folder), "--json"))
        load.await_more()
    load.check()
    assert second["continues"] is not None
    assert all(0 < each["copied"] < each["records"] for each in second["shards"])

    (tmp_path / "new").mkdir()
    with ClusterProcesses(tmp_path / "new", "") as new:
        new.peers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in zip("xyz", free_ports(3), strict=True))
        new.nodes += [NodeProcess(tmp_path / "new", name, new.peers, *new.options) for name in "xy"]
        (nats_port,) = free_ports(1)
        done = run_process(
            *("cluster", "restore", str(target), "--name", "z", "--peers", new.peers, *new.options),
            *("--data", str(tmp_path / "new" / "z"), "--nats-port", str(nats_port), "--listen", "127.0.0.1:0"),
        )
        assert done.code == 0, done.error
        new.nodes.append(NodeProcess(tmp_path / "new", "z", new.peers, *new.options))
        new.await_owners("x", "y", "z")
        for number, queue in enumerate(queues):
            found = new.carry_out("GET", f"/queues/{queue}/dev/messages").json
            assert [each["message"] for each in found] == [f"m{number}"]
        path = f"/queues/{queues[0]}/messages/{claim['id']}?receipt={claim['receipt']}"
        assert new.carry_out("DELETE", path).status == 200, "the receipt counts"
        await_whole(new["x"])


def test_each_copy_is_read(cluster: ClusterProcesses) -> None:
    for number in range(60):  # more than a consumer sends ahead
        assert cluster.carry_out("POST", "/queues/long/messages/produce", {"message": f"m{number}"}).status == 201
    await_whole(cluster["a"])
    found = rows(wonderq("check", "--data", str(cluster["b"].folder), "--json"))
    assert [row["shard"] for row in found] == list(range(SHARDS))
    assert {tuple(row["copies_read"]) for row in found} == {("a", "b", "c")}
    assert {row["replicas_current"] for row in found} == {3}


def test_a_machine_comes_back_with_its_name_and_an_empty_folder(cluster: ClusterProcesses) -> None:
    node = cluster["b"]
    with ClusterLoad(cluster, "emptied") as load:
        load.await_more()
        node.end()
        shutil.rmtree(node.folder)
        cluster.await_owners("a", "c")
        load.await_more()
        node.start()
        cluster.await_owners("a", "b", "c")
        load.await_more()
        await_whole(node)
    load.check()


def test_another_machine_takes_the_place_of_one_that_is_gone(tmp_path: Path) -> None:
    with ClusterProcesses(tmp_path, "abc", "--shards", "3") as cluster:
        cluster.await_owners("a", "b", "c")
        assert run_process("cluster", "replace", "c", "d", "--data", str(cluster["a"].folder), "--yes").code == 1
        with ClusterLoad(cluster, "replaced") as load:
            load.await_more()
            cluster["c"].end()
            cluster.await_owners("a", "b")
            load.await_more()
            peers = ",".join(each for each in cluster.peers.split(",") if not each.startswith("c="))
            port = cluster.peers.rpartition(":")[2]
            cluster.nodes[2] = node = NodeProcess(tmp_path, "d", f"{peers},d=127.0.0.1:{port}", *cluster.options)

            def replace(*confirmation: str) -> Outcome:
                done = run_process("cluster", "replace", "c", "d", "--data", str(cluster["a"].folder), *confirmation)
                assert done.code in (0, 2) or "not there, but" in done.error or "has not joined" in done.error, (
                    done.error
                )
                return done

            eventually(lambda: replace().code == 2, "c to be gone")
            assert "this would remove the NATS server c from the cluster for ever" in replace().error
            eventually(lambda: replace("--yes").code == 0, "d to take the place of c")
            cluster.await_owners("a", "b", "d")
            load.await_more()
        load.check()
        await_whole(node)
        cluster["a"].end()
        cluster.await_owners("b", "d")
        with ClusterLoad(cluster, "after") as load:
            load.await_more()
        load.check()


def test_a_backup_is_restored_after_two_disks_are_lost_for_ever(tmp_path: Path) -> None:
    """The steps of the runbook: the copy of the third node is of no use alone, and a new cluster gets the backup."""
    with ClusterProcesses(tmp_path, "abc", "--shards", "3") as cluster:
        cluster.await_owners("a", "b", "c")
        queues = [f"two-disks-{number}" for number in range(6)]

        def produce(body: str) -> None:
            for each in queues:
                done = cluster.carry_out("POST", f"/queues/{each}/messages/produce", {"message": body})
                assert done.status == 201

        def claim(queue: str) -> Any:
            (message,) = cluster.carry_out("GET", f"/queues/{queue}/messages/consume?visibility_timeout=3600").json
            return message

        def finish(queue: str, message: Any) -> int:
            path = f"/queues/{queue}/messages/{message['id']}?receipt={message['receipt']}"
            return cluster.carry_out("DELETE", path).status

        produce("before")
        claims = {each: claim(each) for each in queues}
        produce("waits")
        backups = tmp_path / "backups"
        wonderq("backup", str(backups), "--data", str(cluster["a"].folder))
        former_id = cluster["a"].cluster()["cluster_id"]
        produce("after")
        assert finish(queues[0], claims[queues[0]]) == 200

        for name in "ab":
            cluster[name].end()
            shutil.rmtree(cluster[name].folder)
        left = cluster["c"]
        eventually(lambda: is_without_quorum(left), "the node that is left to be without a quorum")
        refused = left("POST", f"/queues/{queues[0]}/messages/produce", {"message": "x"})
        assert (refused.status, refused.json["error"]["code"]) == (503, "no_quorum")
        copied = run_process("cluster", "backup", str(tmp_path / "late"), "--data", str(left.folder))
        assert copied.code == 1, "one copy alone is not read"
        assert "more than half must be connected" in copied.error
        left.end()
        left.folder.rename(tmp_path / "kept")

        for name in "ab":
            cluster[name].start()
        done = run_process(
            *("cluster", "restore", str(backups), "--name", "c", "--peers", cluster.peers, *cluster.options),
            *("--data", str(left.folder), "--nats-port", str(left.nats_port), "--listen", "127.0.0.1:0"),
        )
        assert done.code == 0, done.error
        left.start()
        cluster.await_owners("a", "b", "c")
        assert left.cluster()["cluster_id"] != former_id

        for each in queues:
            found = cluster.carry_out("GET", f"/queues/{each}/dev/messages").json
            assert [one["message"] for one in found] == ["before", "waits"], "what came after the backup is lost"
            assert found[0]["id"] == claims[each]["id"]
            assert finish(each, claims[each]) == 200, "a receipt counts, and what was finished after the backup is back"
        with ClusterLoad(cluster, "new") as load:
            load.await_more()
        load.check()
        await_whole(left)


def is_without_quorum(node: NodeProcess) -> bool:
    reply = node("GET", "/readyz")
    return reply.status == 503 and reply.json["quorum"] is False
