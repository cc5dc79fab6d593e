"""Measure the effect of slow clients on normal ones: `python -m benchmarks.slow_clients --connections 1000`.

Starts `wonderq serve`. A separate process produces at a fixed rate, over a few persistent connections and over new
ones: first alone, then beside slow connections that never complete. The slow connections use eight addresses from
127.0.0.2 on and reconnect when the server closes them. They have six kinds in equal parts: silent, idle after a
request, slow head, slow body, slow chunks, and a listing that the client does not read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from benchmarks import load
from benchmarks.servers import cpu_s

_ADDRESSES = 8
_DRIP_S = 0.5
_PERSISTENT = 8
_RATE = 200.0
_BODY = json.dumps({"message": "x" * 100}).encode()
_HEAD = b"POST /messages/produce HTTP/1.1\r\nHost: localhost\r\n"

#: First bytes that each kind sends, and the bytes it repeats.
_KINDS = (
    (b"", b""),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: x\r\n"),
    (_HEAD + b"Content-Length: 10000000\r\n\r\n", b"xxxx"),
    (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    (b"GET /dev/messages HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
)


class Slow:
    """A slow connection, which reconnects after the server closed it."""

    def __init__(self, number: int, address: tuple[str, int]) -> None:
        self.begins, self.drips = _KINDS[number % len(_KINDS)]
        self.ended = 0
        self._source = f"127.0.0.{2 + number % _ADDRESSES}"
        self._address = address
        self.connect()

    def connect(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.bind((self._source, 0))
        self.socket.settimeout(10)
        self.socket.connect(self._address)
        self.socket.setblocking(False)
        self.send(self.begins)

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.socket.send(data)

    def closed(self) -> bool:
        """Return whether the server closed the connection. The kind that does not read its response never checks."""
        if self.begins.startswith(b"GET /dev"):
            return False
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True


def hold_slow_connections(connections: int, address: tuple[str, int], commands: Any) -> None:
    """Hold that many slow connections until a command arrives."""
    slow = [Slow(number, address) for number in range(connections)]
    commands.send("held")
    ended = 0
    while not commands.poll():
        began = time.monotonic()
        for each in random.sample(slow, len(slow)):
            if each.drips:
                each.send(each.drips)
            if each.closed():
                ended += 1
                each.socket.close()
                each.connect()
        time.sleep(max(0, _DRIP_S - (time.monotonic() - began)))
    commands.send(ended)


def produce_normally(url: str, seconds: float, results: Any) -> None:
    """Produce over persistent connections, then over new ones; send the percentiles of both, in ms."""
    script = [lambda _: load.request("/messages/produce", _BODY)] * _PERSISTENT
    persistent = load.run(url, script, requests=int(seconds * _RATE), rate=_RATE)
    new = load.Load()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        load.run(url, script[:1], requests=1)
        new.latencies_s.append(time.perf_counter() - began)
        time.sleep(0.01)
    results.send([each.percentile_ms(percent) for each in (persistent, new) for percent in (50, 99, 100)])


def in_a_process(target: Any, *arguments: Any) -> Any:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return ours


def settle(pid: int) -> None:
    """Wait until the server has produced the listings that the slow connections requested."""
    before = cpu_s(pid)
    for _ in range(60):
        time.sleep(1)
        now = cpu_s(pid)
        if now - before < 0.5:
            return
        before = now


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_clients", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15, help="duration of each of the two measurements")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="wonderq-slow-clients-") as folder:
        command = [sys.executable, "-m", "wonderq", "serve", "--listen", "127.0.0.1:0", "--data", f"{folder}/data"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[3]
            place = urlsplit(url)
            print(f"{'':24} {'persistent connections, ms':^26} {'new connections, ms':^26}  server")
            print(f"{'':24} {'p50':>8} {'p99':>8} {'max':>8} {'p50':>8} {'p99':>8} {'max':>8}  processor")
            for connections in (0, chosen.connections):
                slow = in_a_process(hold_slow_connections, connections, (place.hostname, place.port))
                slow.recv()
                settle(process.pid)
                began, used = time.monotonic(), cpu_s(process.pid)
                measured = in_a_process(produce_normally, url, chosen.seconds).recv()
                share = (cpu_s(process.pid) - used) / (time.monotonic() - began)
                slow.send("end")
                name = f"{connections} slow, {slow.recv()} ended"
                print(f"{name:24} {' '.join(f'{each:8.2f}' for each in measured)}  {share:7.0%}", flush=True)
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


if __name__ == "__main__":
    main()
