"""Measure the cost and the latency of waiting consumers: `python -m benchmarks.waiting [--consumers N]`.

Prints the CPU time of a broker with N open long polls and no messages. Then prints the time from the moment when a
producer sends a message until a waiting consumer receives it, and the limit to compare it with: a round trip of the
bare application and two fdatasyncs. There are two because the produce is durable before the delivery, and so is the
claim.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.limits import write_and_sync_s
from benchmarks.load import request
from benchmarks.scripts import producer
from benchmarks.servers import RunningServer, bare, broker, running
from wonderq.client.sync import Client

_WAIT = request("/messages/consume", b'{"max":1,"wait":20}')
_ANSWER_BYTES = 1 << 16
_RECORD_BYTES = 200


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def idle_share(server: RunningServer, consumers: int, seconds: float) -> float:
    """Return the share of a core that the server uses while consumers wait, without the time in which they connect."""
    connections = [connect(server.url) for _ in range(consumers)]
    for connection in connections:
        connection.sendall(_WAIT)
    time.sleep(2)
    began, cpu_s = time.monotonic(), server.cpu_s()
    time.sleep(seconds)
    share = (server.cpu_s() - cpu_s) / (time.monotonic() - began)
    for connection in connections:
        connection.close()
    return share


def deliveries_s(server: RunningServer, count: int) -> list[float]:
    """Return the times from produce to a waiting consumer of ``count`` messages, ascending."""
    times = []
    send = producer()(b"")
    with Client(server.url) as client, connect(server.url) as consumer, connect(server.url) as sender:
        for _ in range(count):
            consumer.sendall(_WAIT)
            time.sleep(0.01)
            began = time.perf_counter()
            sender.sendall(send)
            answer = consumer.recv(_ANSWER_BYTES)
            times.append(time.perf_counter() - began)
            assert b'"receipt"' in answer, answer
            sender.recv(_ANSWER_BYTES)
            receipt = answer.partition(b'"receipt":"')[2][:40].decode()
            assert not any(client.queue().delete([receipt]))
    return sorted(times)


def round_trips_s(server: RunningServer, count: int) -> list[float]:
    times = []
    send = producer()(b"")
    with connect(server.url) as sender:
        for _ in range(count):
            time.sleep(0.01)
            began = time.perf_counter()
            sender.sendall(send)
            sender.recv(_ANSWER_BYTES)
            times.append(time.perf_counter() - began)
    return sorted(times)


def percentile(times: list[float], percent: float) -> float:
    return times[min(len(times) - 1, int(len(times) * percent / 100))]


def print_latencies(what: str, taken: list[float], trips: list[float], syncs: list[float]) -> None:
    """Print percentiles of deliveries beside those of a bare round trip and two fdatasyncs."""
    for percent in (50, 99):
        best = percentile(trips, percent) + 2 * percentile(syncs, percent)
        found = percentile(taken, percent)
        print(
            f"p{percent} {what} {found * 1000:.2f} ms; a round trip and two fdatasyncs "
            f"{best * 1000:.2f} ms: {found / best:.2f} times"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--consumers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--deliveries", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wonderq-waiting-") as name, running(*bare(100)) as limit:
        with running(*broker(Path(name) / "idle")) as ours:
            share = idle_share(ours, chosen.consumers, chosen.seconds)
            print(f"{chosen.consumers} consumers wait: {share:.2%} of a core")
        with running(*broker(Path(name) / "data")) as ours:
            taken = deliveries_s(ours, chosen.deliveries)
            trips = round_trips_s(limit, chosen.deliveries)
            syncs = sorted(write_and_sync_s(Path(name) / "synced", [_RECORD_BYTES]) for _ in range(chosen.deliveries))
            print_latencies("from produce to consumer", taken, trips, syncs)


if __name__ == "__main__":
    main()
