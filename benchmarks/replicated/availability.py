"""How long there is no broker when something fails, with the log on three servers.

Two `wonderq serve --log` processes share the log. A probe produces one message after another. An outage lasts from the
event to the first answer of the next owner; in a hand-over, it is the longest time without an answer of either.
`benchmarks.takeover` has outages by signals to the owner, also with the log on one server.

A cold take-over is one by a process that had not read the log before, with and without a checkpoint.
"""

from __future__ import annotations

import http.client
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

from benchmarks.replicated.servers import Servers
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import checkpoint
from wonderq_storage import Checkpoints, FileCheckpoints
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.local_servers import free_ports

REPLICAS = 3

_ATTEMPT_S = 5.0
_PAUSE_S = 0.002
_LONGEST_S = 120.0

_BODY = "x" * 100
_BATCH = 1000

#: Cold take-overs without a checkpoint take long, and vary little.
_COLD_TIMES = 5


class Process:
    """A `wonderq serve` process that shares the log, and a connection to it."""

    def __init__(self, log: str, replicas: int, folder: Path, port: int) -> None:
        self._log = log
        self._replicas = replicas
        self._folder = folder
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ATTEMPT_S)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--log", self._log, "--replicas", str(self._replicas), "--data", str(self._folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wonderq", "serve", *options, "--listen", f"127.0.0.1:{self._port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def status(self) -> str:
        """Return what the process says about itself, or nothing if it does not answer."""
        found = self._request("GET", "/readyz", None)
        return "" if found is None else str(json.loads(found[1]).get("status", ""))

    def produce(self, messages: int = 1) -> bool:
        """Produce messages; return whether they are acknowledged."""
        found = self._request("POST", "/queues/default/messages/produce", {"messages": [_BODY] * messages})
        return found is not None and found[0] == 201

    def _request(self, method: str, path: str, body: object) -> tuple[int, bytes] | None:
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None


class Pair:
    """Two processes, of which one owns the log and the other one stands by."""

    def __init__(self, servers: Servers, folder: Path, name: str) -> None:
        log = f"{servers.urls}/{name}"
        self.processes = [
            Process(log, servers.count, folder / f"{name}-{each}", port) for each, port in enumerate(free_ports(2))
        ]
        self._servers = servers

    def start(self) -> None:
        for each in self.processes:
            each.start()

    def kill(self) -> None:
        for each in self.processes:
            each.kill()

    def settle(self) -> tuple[Process, Process]:
        """Wait until one process owns the log and the other one stands by; return both."""
        began = time.monotonic()
        while time.monotonic() < began + _LONGEST_S:
            by_status = {each.status(): each for each in self.processes}
            if {"ready", "standing_by"} <= by_status.keys():
                return by_status["ready"], by_status["standing_by"]
            time.sleep(0.05)
        raise SystemExit("the two processes do not come to be one that serves and one that stands by")

    # Events, each of which returns the seconds without a broker

    def taken_over(self, number: signal.Signals) -> float:
        """Send the owner a signal that ends or freezes it; count until the other process has accepted a message."""
        owner, other = self.settle()
        assert owner.process is not None
        began = time.monotonic()
        owner.process.send_signal(number)
        seconds = _until(other.produce) - began
        if number == signal.SIGSTOP:
            owner.process.send_signal(signal.SIGCONT)
        else:
            owner.process.wait()
            owner.start()
        return seconds

    def handed_over(self) -> float:
        owner, other = self.settle()
        last = _until(owner.produce)
        assert owner.process is not None
        owner.process.terminate()
        longest = 0.0
        answered_by = owner
        while answered_by is not other:
            for each in (owner, other):
                if each.produce():
                    longest, last = max(longest, time.monotonic() - last), time.monotonic()
                    answered_by = each
            time.sleep(_PAUSE_S)
        owner.process.wait()
        owner.start()
        return longest

    def all_restarted(self) -> float:
        self.settle()
        self.kill()
        self._servers.kill()
        began = time.monotonic()
        self._servers.start()
        self.start()
        return _until(lambda: any(each.produce() for each in self.processes)) - began

    def fill(self, messages: int) -> None:
        """Produce messages that wait."""
        owner, _ = self.settle()
        for _ in range(messages // _BATCH):
            _until(lambda: owner.produce(_BATCH))


def _until(condition: Callable[[], bool]) -> float:
    """Return the time at which a condition came true."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + _LONGEST_S:
            raise SystemExit(f"no process answered for {_LONGEST_S:.0f} s")
        time.sleep(_PAUSE_S)
    return time.monotonic()


def run(folder: Path, times: int, messages: int) -> None:
    """Measure everything, and print each line when it is known."""
    with ExitStack() as stack:
        servers = stack.enter_context(Servers(folder / "servers", REPLICAS))
        pair = Pair(servers, folder, "events")
        stack.callback(pair.kill)
        pair.start()
        print_times("owner killed", [pair.taken_over(signal.SIGKILL) for _ in range(times)])
        print_times("planned hand-over", [pair.handed_over() for _ in range(times)])
        pair.fill(messages)
        killed = [pair.taken_over(signal.SIGKILL) for _ in range(times)]
        print_times(f"owner killed, {messages:,} messages waiting", killed)
        pair.settle()
        pair.kill()
        for name, seconds in cold(servers, folder, messages, times).items():
            print_times(f"cold take-over, {messages:,} messages waiting, {name}", seconds)
        small = Pair(servers, folder, "restarts")
        stack.callback(small.kill)
        small.start()
        print_times("all processes and servers killed and restarted", [small.all_restarted() for _ in range(times)])


def cold(servers: Servers, folder: Path, messages: int, times: int) -> dict[str, list[float]]:
    """Measure take-overs by a broker in this process."""
    checkpoints = FileCheckpoints(folder)
    with closing(Connection(servers.urls)) as connection:

        def open_log() -> JetStreamLog:
            return JetStreamLog(JetStream(connection), "cold", node="benchmark", replicas=REPLICAS)

        def take_over(checkpoints: Checkpoints | None) -> float:
            began = time.monotonic()
            broker = Broker(open_log(), checkpoints=checkpoints)
            seconds = time.monotonic() - began
            broker.close()
            return seconds

        log = open_log()
        broker = Broker(log)
        for _ in range(messages // _BATCH):
            broker.produce("default", [_BODY] * _BATCH)
        checkpoint(broker, log, checkpoints)
        broker.close()
        return {
            "with a checkpoint": [take_over(checkpoints) for _ in range(times)],
            "without a checkpoint": [take_over(None) for _ in range(min(times, _COLD_TIMES))],
        }


def print_times(name: str, seconds: Sequence[float]) -> None:
    """Print the median and the 95th percentile: the smallest value that 95% of all do not exceed."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    about = f"median {median(ordered):.3f} s, p95 {p95:.3f} s, longest {ordered[-1]:.3f} s"
    print(f"{name}: {about} of {len(ordered)}", flush=True)
