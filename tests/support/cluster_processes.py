"""The nodes of a cluster as real processes, and clients that ask any of them."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from tests.support.commands import run_process
from tests.support.shared_processes import NOT_SENT, Reply, SharedProcess
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats import Connection
from wonderq_storage.nats.local_servers import free_ports

#: Codes of answers to requests that were surely not carried out.
SURE_REFUSALS = ("shard_unavailable", "no_quorum", "shutting_down")

SHARDS = 6


class NodeOnNats(SharedProcess):
    """One node, which uses NATS servers that others run."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        super().__init__(folder, name, "", "--name", name, *options)

    @property
    def command(self) -> list[str]:
        return ["cluster", "start"]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def cluster(self) -> Any:
        """Return the state of the cluster as this node sees it, or None without an answer."""
        reply = self("GET", "/cluster")
        return reply.json if reply.status == 200 else None

    def owners(self) -> list[str | None]:
        """Return the owner of each shard as this node sees it."""
        found = self.cluster()
        return [] if found is None else [each["owner"] for each in found["shards"]]


class NodeProcess(NodeOnNats):
    """One node, with its NATS server."""

    def __init__(self, folder: Path, name: str, peers: str, *options: str) -> None:
        (self.nats_port,) = free_ports(1)
        self.folder = folder / name
        super().__init__(folder, name, "--peers", peers, "--nats-port", str(self.nats_port), *options)

    @property
    def nats_pid(self) -> int:
        """The process of its NATS server; 0 while the server writes its file."""
        return int((self.folder / "nats" / "nats.pid").read_text() or "0")

    def connection(self) -> Connection:
        """Return a connection to its NATS server."""
        (password,) = re.findall(r'password: "([0-9a-f]{32})"', (self.folder / "nats" / "nats.conf").read_text())
        return Connection(f"nats://wonderq:{password}@127.0.0.1:{self.nats_port}")

    def end(self) -> None:
        """Kill the node and its NATS server."""
        with suppress(ProcessLookupError):
            self.thaw()
        self.kill()
        with suppress(OSError, ValueError):
            os.kill(self.nats_pid, signal.SIGKILL)


class ClusterProcesses:
    """All nodes of a cluster."""

    def __init__(self, folder: Path, names: str = "abc", *options: str) -> None:
        ports = free_ports(len(names))
        self.peers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in zip(names, ports, strict=True))
        self.options = ("--log-bytes", str(64 << 20), *options)
        self.nodes = [NodeProcess(folder, name, self.peers, *self.options) for name in names]

    def __getitem__(self, name: str) -> NodeProcess:
        return next(each for each in self.nodes if each.name == name)

    @property
    def running(self) -> list[NodeProcess]:
        return [each for each in self.nodes if each.process.poll() is None]

    def await_owners(self, *names: str) -> None:
        """Wait until all running nodes agree that these nodes, and no others, own all shards."""

        def agree() -> bool:
            views = [each.owners() for each in self.running]
            return all(view and view == views[0] and set(view) == set(names) for view in views)

        eventually(agree, f"{', '.join(names)} to own all shards")

    def carry_out(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request to one node after the other. The first answer counts that is not a sure refusal."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            for each in random.sample(self.nodes, len(self.nodes)):
                reply = each(method, path, body)
                if reply.status == NOT_SENT or (reply.status == 503 and reply.json["error"]["code"] in SURE_REFUSALS):
                    continue
                return reply
            time.sleep(0.02)
        raise AssertionError(f"nobody carries out {method} {path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self.nodes:
            each.end()


def await_whole(node: NodeProcess) -> None:
    """Wait until all copies of all logs are whole: a copy may be behind for a moment."""

    def is_whole() -> bool:
        return run_process("cluster", "check", "--data", str(node.folder), "--json").code == 0

    eventually(is_whole, "all copies to be whole")


class ClusterLoad:
    """Clients that produce to queues of all shards and delete, and remember what was acknowledged."""

    def __init__(self, cluster: ClusterProcesses, prefix: str, queues: int = 12) -> None:
        self._cluster = cluster
        self._queues = [f"{prefix}-{number}" for number in range(queues)]
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.produced: dict[str, str] = {}
        """Queues by body of the messages whose produce was acknowledged."""
        self.perhaps_deleted: set[str] = set()
        self.deleted: set[str] = set()
        self.errors: list[Exception] = []
        self._threads = [
            *(threading.Thread(target=self._run, args=(self._produce, number)) for number in range(3)),
            *(threading.Thread(target=self._run, args=(self._consume, number)) for number in range(2)),
        ]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        for each in self._threads:
            each.join(PATIENCE_S)

    def await_more(self, count: int = 40) -> None:
        """Wait until so many more messages were produced."""
        before = len(self.produced)
        eventually(lambda: self.errors or len(self.produced) >= before + count, "more messages to be acknowledged")

    def _run(self, act: Any, number: int) -> None:
        count = 0
        try:
            while not self._ending.is_set():
                act(number, count)
                count += 1
        except Exception as error:
            self.errors.append(error)
            raise

    def _produce(self, number: int, count: int) -> None:
        queue, body = self._queues[count % len(self._queues)], f"{number}-{count}"
        if self._cluster.carry_out("POST", f"/queues/{queue}/messages/produce", {"message": body}).status == 201:
            with self._lock:
                self.produced[body] = queue

    def _consume(self, _number: int, count: int) -> None:
        queue = self._queues[count % len(self._queues)]
        found = self._cluster.carry_out("GET", f"/queues/{queue}/messages/consume?max=2&visibility_timeout=600")
        for message in found.json if found.status == 200 else []:
            path = f"/queues/{queue}/messages/{message['id']}?receipt={message['receipt']}"
            with self._lock:
                self.perhaps_deleted.add(message["message"])
            if self._cluster.carry_out("DELETE", path).status == 200:
                with self._lock:
                    self.deleted.add(message["message"])
        self._ending.wait(0.01)

    def check(self) -> None:
        """Compare what is in the queues with what was acknowledged."""
        assert self.errors == []
        assert len(self.produced) > 30
        found: Counter[str] = Counter()
        for queue in self._queues:
            reply = self._cluster.carry_out("GET", f"/queues/{queue}/dev/messages?limit=1000")
            assert reply.status in (200, 404), reply
            for message in reply.json if reply.status == 200 else []:
                found[message["message"]] += 1
        kept = self.produced.keys() - self.perhaps_deleted
        assert kept - found.keys() == set(), "acknowledged, and lost"
        assert self.deleted & found.keys() == set(), "deleted, and back"
        assert [body for body, count in found.items() if count > 1] == [], "doubled"


def nats_of(node: NodeProcess) -> closing[Connection]:
    """Return a connection to the NATS server of a node, as a context."""
    return closing(node.connection())
