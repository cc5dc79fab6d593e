"""`wonderq cluster`: what the commands ask a node for, and what they print. tests/cluster runs them on real nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.cli.test_json import CLUSTER
from tests.support.broker_process import RunningBroker
from tests.support.commands import run


class ScriptedNode:
    """A node of a cluster of two nodes and two shards, which does at once what it is asked for, or never."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.owners: list[str | None] = ["a", "b"]
        self.drained: list[str] = []
        self.is_slow = False
        self.silent: list[dict[str, Any]] = []

    def carry_out(self, path: str, fields: dict[str, Any]) -> None:
        self.asked.append((path, fields))
        if self.is_slow:
            return
        if path == "/cluster/transfer":
            self.owners[fields["shard"]] = fields["node"]
        elif path == "/cluster/drain" and fields["drained"]:
            self.owners = ["b" if each == fields["node"] else each for each in self.owners]
            self.drained = [fields["node"]]
        elif path == "/cluster/balance":
            self.drained = []

    def state(self) -> dict[str, Any]:
        nodes = [
            {"name": name, "url": f"http://{name}", "version": "1", "state": "able", "clock_ahead_ms": 3}
            for name in "ab"
        ]
        shards = [
            {
                "shard": number,
                "owner": owner,
                "status": "owned" if owner else "unavailable",
                "problem": None,
                "epoch": 4,
                "last_sequence": 17,
                "replicas": 3 if owner else None,
                "replicas_current": 2 if owner else None,
            }
            for number, owner in enumerate(self.owners)
        ]
        return {
            "cluster_id": "c1",
            "node": "a",
            "quorum": True,
            "nodes": nodes,
            "silent": self.silent,
            "shards": shards,
            "drained": self.drained,
            "transferred": {},
        }


@pytest.fixture
def node() -> Iterator[tuple[ScriptedNode, str]]:
    scripted = ScriptedNode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(scripted.state())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            scripted.carry_out(self.path, json.loads(body) if body else {})
            self._answer({"success": True})

        def _answer(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield scripted, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_status_is_a_table(node: tuple[ScriptedNode, str]) -> None:
    done = run("cluster", "status", "--url", node[1])
    assert done.code == 0
    assert done.lines[0] == "cluster c1, as the node a sees it"
    headings = [line for line in done.lines[1:] if line and line == line.upper()]
    assert [line.split()[0] for line in headings] == ["NODE", "SHARD"]
    assert any(line.split()[:7] == ["1", "b", "owned", "-", "2", "of", "3"] for line in done.lines)


def test_the_status_names_a_node_that_is_not_heard_any_more(node: tuple[ScriptedNode, str]) -> None:
    node[0].silent = [{"name": "c", "url": "http://c", "version": "1", "silent_s": 41.3}]
    assert run("cluster", "status", "--url", node[1]).lines[-1] == "not heard for 41 s: c at http://c"


def test_a_shard_without_an_owner_is_an_exit_code(node: tuple[ScriptedNode, str]) -> None:
    node[0].owners[1] = None
    done = run("cluster", "status", "--url", node[1])
    assert done.code == 1
    assert any(line.split()[:3] == ["1", "-", "unavailable"] for line in done.lines)


@pytest.mark.parametrize(
    ("command", "asked", "owners"),
    [
        (("transfer", "0", "b"), [("/cluster/transfer", {"shard": 0, "node": "b"})], ["b", "b"]),
        (("drain", "a"), [("/cluster/drain", {"node": "a", "drained": True})], ["b", "b"]),
        (("drain", "a", "--undo"), [("/cluster/drain", {"node": "a", "drained": False})], ["a", "b"]),
        (("balance",), [("/cluster/balance", {})], ["a", "b"]),
        (("status",), [], ["a", "b"]),
    ],
)
def test_each_change_ends_with_the_cluster(
    node: tuple[ScriptedNode, str], command: tuple[str, ...], asked: list[Any], owners: list[str]
) -> None:
    done = run("cluster", *command, "--url", node[1], "--json")
    assert done.code == 0, done.error
    assert node[0].asked == asked
    [found] = map(json.loads, done.lines)
    assert found.keys() == CLUSTER
    assert [each["owner"] for each in found["shards"]] == owners


def test_a_change_that_takes_too_long_is_told_and_goes_on(node: tuple[ScriptedNode, str]) -> None:
    node[0].is_slow = True
    done = run("cluster", "transfer", "0", "b", "--wait", "0", "--url", node[1])
    assert done.code == 1
    assert "goes on" in done.error
    assert done.lines == []


@pytest.mark.parametrize(
    "command", [("status",), ("status", "--json"), ("transfer", "0", "b"), ("drain", "a"), ("balance",)]
)
def test_a_broker_that_is_no_node_is_named_with_the_way_out(broker: RunningBroker, command: tuple[str, ...]) -> None:
    done = run("cluster", *command, "--url", broker.url)
    assert (done.code, done.lines) == (1, [])
    assert f"{broker.url} is not a node of a cluster" in done.error
    assert "--url" in done.error
