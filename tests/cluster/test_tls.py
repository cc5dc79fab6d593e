"""Real nodes whose NATS servers speak TLS."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.certificates import Authority, certificate_at, certificate_in, options_of
from tests.support.cluster_processes import ClusterProcesses, NodeOnNats, NodeProcess
from tests.support.nats_servers import needs_nats, start
from tests.support.waiting import eventually
from wonderq_storage.nats.local_servers import OPEN_ACCOUNTS, LocalServer, free_ports

pytestmark = [pytest.mark.slow, needs_nats]


def route_port(cluster: ClusterProcesses, name: str) -> int:
    places = dict(each.split("=") for each in cluster.peers.split(","))
    return int(places[name].rpartition(":")[2])


def test_three_nodes_with_certificates(tmp_path: Path) -> None:
    """They are a cluster, use a renewed certificate after SIGHUP, and let no node without one in."""
    authority = Authority(tmp_path / "authority")
    files = authority.issue("node")
    with ClusterProcesses(tmp_path, "abc", "--shards", "3", *options_of(files)) as cluster:
        cluster.await_owners("a", "b", "c")
        for number in range(6):
            path = f"/queues/q{number}/messages/produce"
            assert cluster.carry_out("POST", path, {"message": "x"}).status == 201

        node, port = cluster["a"], route_port(cluster, "a")
        assert certificate_at(port, files) == certificate_in(files)
        authority.issue("node")
        assert certificate_at(port, files) != certificate_in(files)
        node.process.send_signal(signal.SIGHUP)
        eventually(lambda: certificate_at(port, files) == certificate_in(files), "the renewed certificate")

        cluster["c"].end()
        cluster.await_owners("a", "b")
        plain = NodeProcess(tmp_path, "c", cluster.peers, "--log-bytes", str(64 << 20), "--shards", "3")
        cluster.nodes[2] = plain
        eventually(lambda: "waiting for more than half of the NATS servers" in plain.log(), "the node to wait")
        assert {each["name"] for each in cluster["a"].cluster()["nodes"]} == {"a", "b"}
        assert cluster["a"].owners() == cluster["b"].owners()


def test_a_node_on_nats_servers_of_others_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    own, client = authority.issue("server"), authority.issue("client")
    tls = f'ca_file: "{own.authority}", cert_file: "{own.certificate}", key_file: "{own.key}", verify: true, timeout: 5'
    server = LocalServer("n1", tmp_path / "n1", free_ports(1)[0], accounts=f"{OPEN_ACCOUNTS}\ntls {{ {tls} }}")
    options = ("--nats-url", server.url, "--shards", "2", "--log-bytes", str(64 << 20))
    start(server)
    try:
        node = NodeOnNats(tmp_path, "a", *options, *options_of(client))
        try:
            eventually(lambda: node.is_ready, "the node to serve")
            assert node("POST", "/queues/x/messages/produce", {"message": "x"}).status == 201
        finally:
            node.kill()
    finally:
        server.kill()
