"""Compare WonderQ's own server with granian: `python -m benchmarks.on_granian [--rounds R] [--threads T]`.

Granian (`pip install --group peers`) handles HTTP in Rust and calls the application on ``T`` threads. A request that
waits for the disk or for a message occupies its thread. The benchmark prints the median ratio of requests per second
under the same load from one process. With a folder in WONDERQ_DATA, the module runs the granian server itself.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from granian import Granian
from granian.constants import Interfaces

from benchmarks import load
from benchmarks.servers import RunningServer, broker, running
from benchmarks.whole import Case
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq_storage import FileLog

_FOLDER = "WONDERQ_DATA"
_PATIENCE_S = 20

CASES = [
    Case("produce one, 64 connections", 8000, 64),
    Case("consume one, 64 connections", 8000, 64, consumes=True),
    Case("produce 100, 4 connections", 1500, 4, 100),
    Case("consume 100, 4 connections", 1500, 4, 100, consumes=True),
]


def make_app() -> Any:
    return create_app(Broker(FileLog(Path(os.environ[_FOLDER]))))


def serve(threads: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def announce_listening() -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                print(f"granian listening on http://127.0.0.1:{port}", flush=True)
                return

    threading.Thread(target=announce_listening, daemon=True).start()
    Granian(
        "benchmarks.on_granian:make_app",
        port=port,
        interface=Interfaces.WSGI,
        factory=True,
        blocking_threads=threads,
        log_enabled=False,
    ).serve()


@contextmanager
def on_granian(folder: Path, threads: int) -> Iterator[RunningServer]:
    os.environ[_FOLDER] = str(folder)
    try:
        with running("benchmarks.on_granian", "--threads", str(threads)) as server:
            del os.environ[_FOLDER]
            yield server
    finally:
        os.environ.pop(_FOLDER, None)


def rate(case: Case, server: RunningServer) -> float:
    case.fill(server.url)
    return load.run(server.url, case.scripts(), requests=case.requests).rate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_granian", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=64)
    chosen = parser.parse_args()
    if _FOLDER in os.environ:
        serve(chosen.threads)
        return
    with tempfile.TemporaryDirectory(prefix="wonderq-granian-") as name:
        folder = Path(name)
        with running(*broker(folder / "own")) as own, on_granian(folder / "granian", chosen.threads) as granian:
            for case in CASES:
                rounds = []
                for number in range(chosen.rounds):
                    order = (own, granian) if number % 2 else (granian, own)
                    rates = {server: rate(case, server) for server in order}
                    rounds.append((rates[own], rates[granian]))
                ours, theirs = (median(each) for each in zip(*rounds, strict=True))
                ratio = median(theirs / ours for ours, theirs in rounds)
                print(f"{case.name:30}{ours:10,.0f}{theirs:10,.0f} requests/s on granian: {ratio:.0%}", flush=True)


if __name__ == "__main__":
    main()
