"""Measure how long a shard has no owner: `python -m benchmarks.cluster_takeover --rounds 10 --messages 0`.

Runs three nodes of a cluster with one shard on this machine. In each round it kills the owner, and takes the seconds to
the first message that another node accepts. Then it starts the node again, transfers the shard, and takes the longest
time between two messages of one producer meanwhile.

With ``--messages``, so many messages of 100 bytes wait in the queue.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from wonderq_storage.nats.local_servers import free_ports

_BATCH = 1000


class Node:
    """One node, as a process."""

    def __init__(self, folder: Path, name: str, peers: str) -> None:
        self.name = name
        self.port, nats_port = free_ports(2)
        self._command = [
            *(sys.executable, "-m", "wonderq", "cluster", "start", "--name", name, "--peers", peers, "--shards", "1"),
            *("--nats-port", str(nats_port), "--data", str(folder / name), "--listen", f"127.0.0.1:{self.port}"),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        self.process.terminate()
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
        """Return the owner of the shard if this node hears all three."""
        _, found = self.ask("GET", "/cluster")
        return found["shards"][0]["owner"] if found and len(found["nodes"]) == 3 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--messages", type=int, default=0)
    options = parser.parse_args()
    ports = free_ports(3)
    peers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in zip("abc", ports, strict=True))
    killed, transferred = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = {name: Node(folder, name, peers) for name in "abc"}
        for each in nodes.values():
            stack.callback(each.stop)
        owner = _await_owner(nodes)
        for _ in range(0, options.messages, _BATCH):
            nodes[owner].ask("POST", "/messages/produce", {"messages": [{"message": "x" * 100}] * _BATCH})
        for _ in range(options.rounds):
            killed.append(_kill(nodes, _await_owner(nodes)))
            transferred.append(_transfer(nodes, _await_owner(nodes)))
    for what, times in (("killed", sorted(killed)), ("transferred", sorted(transferred))):
        p95_s = times[-1 - len(times) // 20]
        print(f"{what:12} median {median(times):.2f} s, p95 {p95_s:.2f} s, longest {times[-1]:.2f} s, of {len(times)}")


def _await_owner(nodes: dict[str, Node]) -> str:
    while True:
        owners = {each.owner() for each in nodes.values()}
        if len(owners) == 1 and (owner := owners.pop()) is not None:
            return owner
        time.sleep(0.1)


def _kill(nodes: dict[str, Node], owner: str) -> float:
    others = [each for each in nodes.values() if each.name != owner]
    began_s = time.monotonic()
    nodes[owner].process.kill()
    while not any(each.send() for each in others):
        time.sleep(0.005)
    took_s = time.monotonic() - began_s
    nodes[owner].process.wait()
    nodes[owner].start()
    return took_s


def _transfer(nodes: dict[str, Node], owner: str) -> float:
    to = next(name for name in nodes if name != owner)
    sent: list[float] = []
    ending = threading.Event()

    def produce() -> None:
        while not ending.is_set():
            if any(nodes[name].send() for name in (owner, to)):
                sent.append(time.monotonic())

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.3)
    nodes[owner].ask("POST", "/cluster/transfer", {"shard": 0, "node": to})
    while nodes[to].owner() != to:
        time.sleep(0.05)
    time.sleep(0.3)
    ending.set()
    producer.join()
    return max(late - early for early, late in itertools.pairwise(sent))


if __name__ == "__main__":
    main()
