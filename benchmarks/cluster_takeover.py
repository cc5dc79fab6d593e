"""Measure how long a shard serves nobody when something fails: `python -m benchmarks.cluster_takeover --rounds 50`.

Runs three nodes of a cluster with one shard on this machine. Each event happens ``--rounds`` times:

- ``owner``: the process of the owner is killed;
- ``hand-over``: the shard is transferred to another node;
- ``follower``: a machine is killed, a node with its NATS server, that neither owns the shard nor leads its log;
- ``machine``: the machine is killed that owns the shard and leads its log;
- ``all``: all machines are killed and started again.

An outage lasts from the event to the first message that a node accepts. For ``hand-over`` and ``follower``, after which
a node serves all the time, it is the longest time between two messages of one producer. Before each event all machines
run, and all copies are whole.

With ``--messages``, so many messages of 100 bytes wait in the queue.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks.replicated.availability import print_times
from wonderq.cluster_tools.logs import open_logs, servers_of
from wonderq_storage.errors import StorageError
from wonderq_storage.nats.local_servers import free_ports

_BATCH = 1000

#: How long a producer goes on after an event that another node is to pass over in silence, in seconds.
_WATCHED_S = 8.0


class Node:
    """One node with its NATS server, as processes."""

    def __init__(self, folder: Path, name: str, peers: str) -> None:
        self.name = name
        self.data = folder / name
        self.port, nats_port = free_ports(2)
        self._command = [
            *(sys.executable, "-m", "wonderq", "cluster", "start", "--name", name, "--peers", peers, "--shards", "1"),
            *("--nats-port", str(nats_port), "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        """Kill the node; its NATS server goes on."""
        self.process.kill()
        self.process.wait()

    def kill_machine(self) -> None:
        """Kill the node and its NATS server."""
        server = int((self.data / "nats" / "nats.pid").read_text(encoding="ascii"))
        self.process.kill()
        os.kill(server, signal.SIGKILL)
        self.process.wait()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; return status and answer, or 0 and None if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def send(self) -> bool:
        return self.ask("POST", "/messages/produce", {"message": "x"})[0] == 201

    def owner(self) -> str | None:
        """Return the owner of the shard if this node hears all three, and all copies are whole."""
        _, found = self.ask("GET", "/cluster")
        if not found or len(found["nodes"]) < 3 or found["shards"][0]["replicas_current"] != 3:
            return None
        return str(found["shards"][0]["owner"])

    def leader(self) -> str | None:
        """Return the node whose NATS server leads the log of the shard."""
        with suppress(StorageError), open_logs(servers_of(self.data, None)) as logs:
            return logs.jetstream.stream_info(logs.charter.stream(0), timeout_s=5).leader
        return None


class Nodes:
    """All nodes, and the events."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(3)
        peers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in zip("abc", ports, strict=True))
        self._all = {name: Node(folder, name, peers) for name in "abc"}

    def stop(self) -> None:
        for each in self._all.values():
            each.stop()

    def fill(self, messages: int) -> None:
        owner = self._settled()
        for _ in range(0, messages, _BATCH):
            owner.ask("POST", "/messages/produce", {"messages": [{"message": "x" * 100}] * _BATCH})

    def owner_killed(self) -> float:
        owner = self._settled()
        outage_s = self._outage(owner.kill, self._others(owner))
        owner.start()
        return outage_s

    def handed_over(self) -> float:
        owner = self._settled()
        to = self._others(owner)[0]
        return self._longest_gap(lambda: self._transfer(owner, to), [owner, to], 0.3)

    def follower_killed(self) -> float:
        owner, leader = self._settled(), self._leader()
        follower = next(each for each in self._all.values() if each not in (owner, leader))
        longest_s = self._longest_gap(follower.kill_machine, self._others(follower), _WATCHED_S)
        follower.start()
        return longest_s

    def machine_killed(self) -> float:
        owner, leader = self._settled(), self._leader()
        if owner is not leader:
            self._transfer(owner, leader)
            owner = self._settled()
        outage_s = self._outage(owner.kill_machine, self._others(owner))
        owner.start()
        return outage_s

    def all_killed(self) -> float:
        self._settled()

        def kill_and_start() -> None:
            for each in self._all.values():
                each.kill_machine()
            for each in self._all.values():
                each.start()

        return self._outage(kill_and_start, list(self._all.values()))

    def _others(self, node: Node) -> list[Node]:
        return [each for each in self._all.values() if each is not node]

    def _settled(self) -> Node:
        """Return the owner once all nodes agree on it, and all copies are whole."""
        while True:
            owners = {each.owner() for each in self._all.values()}
            if len(owners) == 1 and (owner := owners.pop()) in self._all:
                return self._all[owner]
            time.sleep(0.1)

    def _leader(self) -> Node:
        while True:
            name = self._all["a"].leader()
            if name is not None:
                return self._all[name]

    @staticmethod
    def _transfer(owner: Node, to: Node) -> None:
        owner.ask("POST", "/cluster/transfer", {"shard": 0, "node": to.name})
        while to.owner() != to.name:
            time.sleep(0.05)

    @staticmethod
    def _outage(event: Callable[[], None], nodes: Sequence[Node]) -> float:
        """Return the time from the beginning of an event to the first message that one of the nodes accepts."""
        began_s = time.monotonic()
        event()
        while not any(each.send() for each in nodes):
            time.sleep(0.005)
        return time.monotonic() - began_s

    @staticmethod
    def _longest_gap(event: Callable[[], None], nodes: Sequence[Node], watched_s: float) -> float:
        """Return the longest time between two messages of one producer, around an event."""
        sent: list[float] = []
        ending = threading.Event()

        def produce() -> None:
            while not ending.is_set():
                if any(each.send() for each in nodes):
                    sent.append(time.monotonic())

        producer = threading.Thread(target=produce)
        producer.start()
        time.sleep(0.3)
        event()
        time.sleep(watched_s)
        ending.set()
        producer.join()
        return max(late - early for early, late in itertools.pairwise(sent))


EVENTS: dict[str, Callable[[Nodes], float]] = {
    "owner": Nodes.owner_killed,
    "hand-over": Nodes.handed_over,
    "follower": Nodes.follower_killed,
    "machine": Nodes.machine_killed,
    "all": Nodes.all_killed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--events", nargs="+", choices=EVENTS, default=["owner", "hand-over"])
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} at the start", flush=True)
    with ExitStack() as stack:
        nodes = Nodes(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(nodes.stop)
        nodes.fill(options.messages)
        for name in options.events:
            print_times(name, [EVENTS[name](nodes) for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
