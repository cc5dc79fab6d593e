"""Three real nodes: whatever happens to one of them, nothing acknowledged is lost, and every shard is served."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.cluster_processes import SHARDS, ClusterLoad, ClusterProcesses, NodeProcess, nats_of
from tests.support.commands import read_lines, run_process, started
from tests.support.nats_servers import NatsCluster, needs_nats
from tests.support.shared_processes import request
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.auth.keys import read
from wonderq.cluster.keys import SYNCED_FILE
from wonderq.cluster.shard_map import shard_of
from wonderq_storage.nats import JetStream
from wonderq_storage.nats.local_servers import free_ports

pytestmark = [pytest.mark.slow, needs_nats]


def test_each_node_owns_a_part_of_the_shards(cluster: ClusterProcesses) -> None:
    eventually(lambda: sorted(map(cluster["a"].owners().count, "abc")) == [2, 2, 2], "equal parts")
    found = cluster["a"].cluster()
    assert {each["name"]: each["url"] for each in found["nodes"]} == {each.name: each.url for each in cluster.nodes}
    assert len({each.cluster()["cluster_id"] for each in cluster.nodes}) == 1
    assert cluster["b"]("GET", "/readyz").json["status"] == "ready"


def test_only_one_shard_has_the_queue_default(cluster: ClusterProcesses) -> None:
    reply = cluster.carry_out("POST", "/messages/produce", {"message": "x"})
    assert reply.status == 201
    samples = [
        line
        for each in cluster.nodes
        for line in each("GET", "/metrics").json.decode().splitlines()
        if line.startswith("wonderq_queue_bytes{") and 'queue="default"' in line
    ]
    assert len(samples) == 1
    assert f'shard="{shard_of("default", SHARDS)}"' in samples[0]


def test_metrics_have_the_node_and_the_shard(cluster: ClusterProcesses) -> None:
    owners = cluster["a"].owners()
    for each in cluster.nodes:
        text = each("GET", "/metrics").json.decode()
        found = {
            int(shard): value
            for node, shard, value in re.findall(
                r'^wonderq_shard_owner\{node="(\w)",shard="(\d+)"\} (\S+)', text, re.MULTILINE
            )
            if node == each.name
        }
        assert found == {shard: "1.0" if owner == each.name else "0.0" for shard, owner in enumerate(owners)}
        assert set(re.findall(r'^wonderq_ready\{node="(\w)",shard="\d+"\} 1.0', text, re.MULTILINE)) == {each.name}
        assert len(re.findall(r"^# TYPE wonderq_queue_messages ", text, re.MULTILINE)) == 1, "each metric once"


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_node_is_killed(cluster: ClusterProcesses, name: str) -> None:
    node = cluster[name]
    with ClusterLoad(cluster, f"killed-{name}") as load:
        load.await_more()
        node.kill()
        load.await_more()
        cluster.await_owners(*({"a", "b", "c"} - {name}))
        node.start()
        cluster.await_owners("a", "b", "c")
        load.await_more()
    load.check()


def test_a_node_and_its_nats_server_are_killed(cluster: ClusterProcesses) -> None:
    node = cluster["b"]
    with ClusterLoad(cluster, "pulled") as load:
        load.await_more()
        node.end()
        cluster.await_owners("a", "c")
        load.await_more()
        node.start()
        cluster.await_owners("a", "b", "c")
        load.await_more()
    load.check()


def test_the_nats_server_of_a_node_is_killed(cluster: ClusterProcesses) -> None:
    node = cluster["c"]
    with ClusterLoad(cluster, "without-nats") as load:
        load.await_more()
        before = node.nats_pid
        os.kill(before, signal.SIGKILL)
        eventually(lambda: node.nats_pid not in (before, 0), "the server to be started again")
        load.await_more()
        cluster.await_owners("a", "b", "c")
        load.await_more()
    load.check()


def test_a_node_is_frozen_and_continues_later(cluster: ClusterProcesses) -> None:
    node = cluster["a"]
    with ClusterLoad(cluster, "frozen") as load:
        load.await_more()
        own = [shard for shard, owner in enumerate(node.owners()) if owner == "a"]
        node.freeze()
        other = cluster["b"]
        eventually(lambda: None not in (found := other.owners()) and found and "a" not in found, "a takeover")
        node.thaw()
        load.await_more()
        eventually(lambda: node.owners() == other.owners(), "the frozen node to know the others")
        cluster.await_owners("a", "b", "c")
    load.check()
    assert own
    text = node("GET", "/metrics").json.decode()
    fenced = {
        int(shard): float(count)
        for shard, count in re.findall(
            r'^wonderq_shard_fenced_total\{node="a",shard="(\d+)"\} (\S+)', text, re.MULTILINE
        )
    }
    assert {shard for shard, count in fenced.items() if count} >= set(own)


def test_all_nodes_and_their_nats_servers_are_killed(cluster: ClusterProcesses) -> None:
    with ClusterLoad(cluster, "all") as load:
        load.await_more()
        for each in cluster.nodes:
            each.end()
        for each in cluster.nodes:
            each.start()
        cluster.await_owners("a", "b", "c")
        load.await_more()
    load.check()


def test_a_node_that_is_stopped_hands_its_shards_over(cluster: ClusterProcesses) -> None:
    node = cluster["b"]
    before = node.owners()
    own = [shard for shard, owner in enumerate(before) if owner == "b"]
    with ClusterLoad(cluster, "stopped") as load:
        load.await_more()
        assert node.stop() == 0
        load.await_more()
        cluster.await_owners("a", "c")
    load.check()
    log = node.log()
    for shard in own:
        assert f"this node has released shard {shard}," in log
    assert "stopped cleanly" in log


def wonderq(node: NodeProcess, *arguments: str) -> str:
    done = run_process("cluster", *arguments, "--url", node.url)
    assert done.code == 0, done.error
    return done.out.decode()


def test_shards_are_transferred_drained_and_balanced(cluster: ClusterProcesses) -> None:
    owners = cluster["a"].owners()
    shard = owners.index("a")
    wonderq(cluster["b"], "transfer", str(shard), "c")
    assert cluster["b"].owners()[shard] == "c"
    told = rf"^{shard} +c +owned.*^transferred: {shard} to c"
    eventually(
        lambda: re.search(told, wonderq(cluster["a"], "status"), re.MULTILINE | re.DOTALL), "another node to know it"
    )
    wonderq(cluster["a"], "drain", "c")
    cluster.await_owners("a", "b")
    assert "drained: c" in wonderq(cluster["a"], "status")
    wonderq(cluster["a"], "balance")
    cluster.await_owners("a", "b", "c")
    eventually(
        lambda: all(each["owner"] == each["wanted"] for each in cluster["a"].cluster()["shards"]),
        "the shards to return",
    )
    assert sorted(map(cluster["a"].owners().count, "abc")) == [2, 2, 2]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/cluster/transfer", {"shard": SHARDS, "node": "a"}, "numbers 0 to"),
        ("/cluster/transfer", {"shard": 0, "node": "z"}, "only a, b, c"),
        ("/cluster/drain", {"node": "z"}, "only a, b, c"),
        ("/cluster/drain", {}, "node"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    cluster: ClusterProcesses, path: str, body: dict[str, object], words: str
) -> None:
    reply = cluster["a"]("POST", path, body)
    assert reply.status == 400
    assert words in reply.json["error"]["message"]


def test_two_queues_in_different_shards_are_refused_together(cluster: ClusterProcesses) -> None:
    here = "orders"
    away = next(name for name in ("x1", "x2", "x3", "x4") if shard_of(name, SHARDS) != shard_of(here, SHARDS))
    for path, method, body in (
        (f"/queues/{here}/messages/produce", "POST", {"message": "x"}),
        ("/messages/consume", "POST", {"queues": [here, away]}),
    ):
        reply = cluster.carry_out(method, path, body)
        if "produce" in path:
            assert reply.status == 201
        else:
            assert (reply.status, reply.json["error"]["code"]) == (409, "different_shards"), reply
            assert "--" in reply.json["error"]["message"]
    assert cluster.carry_out("PUT", f"/queues/{here}", {"dead_letter_queue": f"{here}--dead"}).status == 200


@pytest.mark.parametrize(
    ("option", "value", "words"), [("--shards", "5", "6 shards"), ("--replicas", "1", "3 replicas")]
)
def test_a_node_with_other_settings_is_refused_with_both_values(
    cluster: ClusterProcesses, option: str, value: str, words: str
) -> None:
    node = cluster["c"]
    assert node.stop() == 0
    done = run_process(
        *("cluster", "start", "--name", "c", "--peers", cluster.peers, "--data", str(node.folder)),
        *("--nats-port", str(node.nats_port), "--listen", f"127.0.0.1:{node.port}", option, value),
    )
    assert done.code == 1
    assert words in done.error
    assert f"{option} is {value}" in done.error


def test_a_node_of_another_cluster_is_refused(cluster: ClusterProcesses, tmp_path: Path) -> None:
    node = cluster["c"]
    own = node.cluster()["cluster_id"]
    assert node.stop() == 0
    folder = tmp_path / "c"
    folder.mkdir()
    text = (node.folder / "cluster.json").read_text()
    (folder / "cluster.json").write_text(text.replace(own, "0123456789abcdef"))
    url = f"nats://{nats_address(cluster['a'])}"
    done = run_process(
        *("cluster", "start", "--name", "c", "--nats-url", url, "--data", str(folder), "--listen", "127.0.0.1:0")
    )
    assert done.code == 1
    assert own in done.error
    assert "0123456789abcdef" in done.error


def nats_address(node: NodeProcess) -> str:
    (password,) = re.findall(r'password: "([0-9a-f]{32})"', (node.folder / "nats" / "nats.conf").read_text())
    return f"wonderq:{password}@127.0.0.1:{node.nats_port}"


def test_a_shard_whose_log_is_gone_is_served_by_nobody(tmp_path: Path) -> None:
    """Servers that lost a stream would otherwise begin an empty one, and nobody would notice that messages are lost."""
    with ClusterProcesses(tmp_path, "ab", "--shards", "2") as cluster:
        cluster.await_owners("a", "b")
        found = cluster["a"].cluster()
        shard = next(each["shard"] for each in found["shards"] if each["owner"] == "a")
        cluster["a"].kill()
        with nats_of(cluster["b"]) as connection:
            JetStream(connection).call(f"STREAM.DELETE.WQ_{found['cluster_id']}_{shard}", timeout_s=5)
        node = cluster["b"]

        def damaged() -> list[int]:
            view = node.cluster()
            return [] if view is None else [each["shard"] for each in view["shards"] if each["status"] == "damaged"]

        eventually(lambda: damaged() == [shard], "the shard to be damaged")
        queue = next(name for name in ("q1", "q2", "q3", "q4", "q5") if shard_of(name, 2) == shard)
        reply = node("POST", f"/queues/{queue}/messages/produce", {"message": "x"})
        assert (reply.status, reply.json["error"]["code"]) == (503, "log_damaged")
        assert node("GET", "/readyz").status == 503
        assert "is gone" in node("GET", "/readyz").json["shards"][str(shard)]
        assert request(node.port, "GET", "/readyz?strict=false").status == 200, "the other shard is served"
        done = run_process("cluster", "status", "--url", node.url)
        assert done.code == 1
        assert "damaged" in done.out.decode()
        cluster["a"].start()

        def problem() -> str:
            view = cluster["a"].cluster()
            return "" if view is None else view["shards"][shard]["problem"] or ""

        eventually(lambda: "is gone" in problem(), "the restarted node to find that the log which b knows is gone")
        assert damaged() == [shard]


def test_a_node_on_nats_servers_of_others(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with NatsCluster(tmp_path / "nats", 1) as servers:
        options = ["--name", "a", "--nats-url", servers.url, "--shards", "2", "--log-bytes", str(64 << 20)]
        data = ["--data", str(tmp_path / "data"), "--listen", f"127.0.0.1:{port}"]
        with started("cluster", "start", *options, *data) as node:
            (line,) = read_lines(node, 1)
            assert re.match(
                rf"wonderq node a of the cluster \w{{16}} listening on http://127.0.0.1:{port} \(2 shards", line
            )
            eventually(lambda: request(port, "GET", "/readyz").status == 200)
            for queue in ("x", "y", "z"):
                assert request(port, "POST", f"/queues/{queue}/messages/produce", {"message": "x"}).status == 201
            assert not (tmp_path / "data" / "nats").exists(), "it runs no server of its own"
            node.terminate()
            _, errors = node.communicate(timeout=PATIENCE_S)
            assert node.returncode == 0
            assert b"WARNING" not in errors
            assert b"stopped cleanly" in errors


def test_a_node_without_its_folder_of_keys_gets_them_before_it_serves(tmp_path: Path) -> None:
    with ClusterProcesses(tmp_path, "a", "--shards", "2") as cluster:
        cluster.await_owners("a")
        node = cluster["a"]
        assert node("GET", "/queues/x").status == 404
        done = run_process("key", "create", "test", "--role", "admin", "--data", str(node.folder))
        assert done.code == 0, done.error
        eventually(lambda: node("GET", "/queues/x").status == 401, "the key to be required")
        eventually(lambda: read(node.folder / SYNCED_FILE)[0], "the key to be passed on")
        assert node("GET", "/cluster").status == 401
        assert node("POST", "/cluster/balance").status == 401
        assert node("GET", "/readyz").status == 200
        assert node.stop() == 0
        for file in ("keys.json", SYNCED_FILE):
            (node.folder / file).unlink()
        node.start()
        statuses = {eventually(lambda: (found := node("GET", "/queues/x").status) > 0 and found) for _ in range(20)}
        assert 404 not in statuses
        eventually(lambda: node("GET", "/queues/x").status == 401)
