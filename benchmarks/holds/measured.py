"""A broker with instruments, and a client that asks it for `/healthz` all the time."""

from __future__ import annotations

import json
import multiprocessing
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.holds.delay import delay_s
from benchmarks.servers import broker

_PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PROBE_INTERVAL_S = 0.001

#: Time in which the last turn of a measurement ends.
_SETTLE_S = 0.1

#: Longest wait for an answer.
PATIENCE_S = 600.0


class Answer(NamedTuple):
    """Response to one request. The status is 0 if the connection was closed instead."""

    status: int
    body: bytes
    seconds: float


class Hold(NamedTuple):
    """Longest holds during one measurement, in ms."""

    gap_ms: float
    """Longest time to an answer for `/healthz`."""
    turn_ms: float
    """Longest turn of the serving thread, in its CPU time."""
    lock_ms: float
    """Longest hold of the lock, in the CPU time of its holder."""
    collection_ms: float
    """Longest garbage collection, in CPU time."""
    delay_ms: float
    """Time in all for which other programs kept threads of the broker from running."""
    place: str
    """Innermost functions that were seen most often in the longest turn or hold."""

    def longest_ms(self, noise_ms: float) -> float:
        """Return the longest hold. ``noise_ms`` is the longest gap of an idle broker."""
        return max(self.turn_ms, self.lock_ms, self.gap_ms - noise_ms - self.delay_ms)


def probe(address: tuple[str, int], commands: Connection) -> None:
    """Ask for `/healthz` at each ms. Each command resets the figures, and is answered with the longest time in ms."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        longest_s = 0.0
        while True:
            began, delayed_s = time.perf_counter(), delay_s()
            connection.sendall(_PROBE)
            if not connection.recv(1 << 16):
                return
            longest_s = max(longest_s, time.perf_counter() - began - (delay_s() - delayed_s))
            if commands.poll(_PROBE_INTERVAL_S):
                commands.recv()
                commands.send(1000 * longest_s)
                longest_s = 0.0


class MeasuredBroker:
    """A running broker."""

    def __init__(self, process: subprocess.Popen[str], url: str, prober: Connection) -> None:
        self._process = process
        self._prober = prober
        self.pid = process.pid
        self.address = urlsplit(url).netloc

    @contextmanager
    def measuring(self) -> Iterator[list[Hold]]:
        """Measure the block. The list has the figures after it."""
        held: list[Hold] = []
        self._command("begin")
        self._longest_probe_ms()
        yield held
        time.sleep(_SETTLE_S)
        gap_ms = self._longest_probe_ms()
        self._command("end")
        assert self._process.stdout is not None
        held.append(Hold(gap_ms, **json.loads(self._process.stdout.readline())))

    def _command(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _longest_probe_ms(self) -> float:
        self._prober.send("next")
        longest_ms: float = self._prober.recv()
        return longest_ms

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Make one request on a connection of its own. Its answer is read, whatever it is."""
        connection = HTTPConnection(self.address, timeout=PATIENCE_S)
        began = time.perf_counter()
        status, answer = 0, b""
        with suppress(OSError, HTTPException):
            with suppress(OSError):  # the broker may refuse a body before all of it was sent
                connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            status, answer = response.status, response.read()
        connection.close()
        return Answer(status, answer, time.perf_counter() - began)

    def ask_json(self, method: str, path: str, value: Any = None) -> Any:
        """Make a request that has to succeed, and return the value of its answer."""
        body = b"" if value is None else json.dumps(value).encode()
        answer = self.ask(method, path, body, {"Content-Type": "application/json"} if body else None)
        if answer.status not in (200, 201):
            raise SystemExit(f"{method} {path} was answered {answer.status}: {answer.body[:300]!r}")
        return json.loads(answer.body)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[MeasuredBroker]:
    """Run a broker with instruments on a folder until the end of the block."""
    command = [sys.executable, "-m", "benchmarks.holds.instruments", *broker(folder)[1:], *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    prober = None
    try:
        words = process.stdout.readline().split()
        if len(words) < 4:
            raise SystemExit(f"{' '.join(command)} did not start")
        place = urlsplit(words[3])
        ours, theirs = multiprocessing.Pipe()
        prober = multiprocessing.Process(target=probe, args=((place.hostname, place.port), theirs), daemon=True)
        prober.start()
        yield MeasuredBroker(process, words[3], ours)
    finally:
        if prober is not None:
            prober.terminate()
            prober.join()
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdin.close()
        process.stdout.close()
