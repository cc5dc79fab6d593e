"""The cost of a request to a node that does not own the queue: the same sends at the owner and at another node.

    python -m benchmarks.forwarding [--rounds N] [--requests N] [--clients N]

Two nodes in processes of their own, with one NATS server and a log in memory, so that the rest of a request is small.
The rounds at the owner and at the other node take turns.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from tests.support.edge_cluster import EdgeNode
from tests.support.memory_log import MemoryLog
from tests.support.nats_servers import NatsCluster
from wonderq.broker.broker import Broker
from wonderq.edge_app import EdgeSettings

QUEUE = "orders"
HEADERS = {"Content-Type": "application/json"}
BODY = b'{"message": "' + b"x" * 200 + b'"}'


def serve(name: str, nats_url: str, pipe: Pipe) -> None:
    """Run a node until the other end of the pipe says so. The node `owner` owns everything."""
    node = EdgeNode(name, nats_url, None, EdgeSettings(), 1)
    if name == "owner":
        node.shards.brokers[0] = Broker(MemoryLog())
    node.connection.server_info(timeout_s=30)
    node.shards.hear(0, "owner")
    pipe.send(int(node.server.effective_port))
    pipe.recv()
    node.stop()


def durations_s(port: int, requests: int) -> list[float]:
    """Send messages one after the other, and return how long each took."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    found = []
    for _ in range(requests):
        began_s = time.perf_counter()
        connection.request("POST", f"/queues/{QUEUE}/messages/produce", BODY, HEADERS)
        response = connection.getresponse()
        response.read()
        assert response.status == 201
        found.append(time.perf_counter() - began_s)
    connection.close()
    return found


def round_of(port: int, clients: int, requests: int) -> tuple[list[float], float]:
    """Let clients send at the same time; return how long each request took, and the requests per second."""
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.extend(durations_s(port, requests))) for _ in range(clients)]
    began_s = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found, clients * requests / (time.perf_counter() - began_s)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args(arguments)
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, NatsCluster(Path(folder), 1) as nats:
        pipes, ports = [], {}
        for name in ("owner", "other"):
            ours, theirs = spawning.Pipe()
            spawning.Process(target=serve, args=(name, nats.url, theirs), daemon=True).start()
            ports[name] = ours.recv()
            pipes.append(ours)
        medians: dict[str, list[float]] = {"owner": [], "other": []}
        for number in range(options.rounds + 1):
            for name, port in ports.items():
                found, per_second = round_of(port, options.clients, options.requests)
                if number:  # the first round warms up
                    medians[name].append(statistics.median(found))
                    p99 = statistics.quantiles(found, n=100)[98]
                    print(f"{name}: p50 {medians[name][-1] * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, {per_second:,.0f}/s")
        costs = [other - owner for owner, other in zip(medians["owner"], medians["other"], strict=True)]
        print(f"a request costs {statistics.median(costs) * 1e3:.2f} ms more at another node (median of rounds)")
        for pipe in pipes:
            pipe.send(None)


if __name__ == "__main__":
    main(sys.argv[1:])
