"""Measure the cost of API keys: `python -m benchmarks.keys [--rounds R]`.

Runs the same load on two brokers in turn, one with a hundred keys and one without keys: one message per request over
64 connections. Prints the median ratio of requests per second.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.load import Script
from benchmarks.scripts import consumer, producer
from benchmarks.servers import RunningServer, broker, running
from wonderq.auth import keys
from wonderq.config import KEYS_FILE

CONNECTIONS, REQUESTS, KEYS = 64, 8000, 100


def with_key(script: Script, key: str) -> Script:
    line = f"\r\nAuthorization: Bearer {key}\r\n".encode()
    return lambda answer: script(answer).replace(b"\r\n", line, 1)


def rates(server: RunningServer, key: str | None) -> tuple[float, float]:
    """Return the requests per second of producers, and of consumers that delete."""

    def run(scripts: list[Script], requests: int) -> float:
        ready = scripts if key is None else [with_key(script, key) for script in scripts]
        return load.run(server.url, ready, requests=requests).rate

    produced = run([producer() for _ in range(CONNECTIONS)], REQUESTS)
    return produced, run([consumer() for _ in range(CONNECTIONS)], 2 * REQUESTS - 2 * CONNECTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="wonderq-keys-") as name:
        open_folder, keyed_folder = Path(name) / "open", Path(name) / "keyed"
        for number in range(KEYS):
            _, key = keys.create(
                keyed_folder / KEYS_FILE, name=f"key {number}", roles=["produce", "consume"], queues=["*"]
            )
        with running(*broker(open_folder)) as unkeyed, running(*broker(keyed_folder)) as keyed:
            ratios = []
            for number in range(rounds):
                if number % 2:
                    with_keys, without = rates(keyed, key), rates(unkeyed, None)
                else:
                    without, with_keys = rates(unkeyed, None), rates(keyed, key)
                ratios.append([after / before for before, after in zip(without, with_keys, strict=True)])
    produce, consume = (median(each) for each in zip(*ratios, strict=True))
    print(f"with keys, of the rate without: produce {produce:.0%}, consume and delete {consume:.0%} ({rounds} rounds)")


if __name__ == "__main__":
    main()
