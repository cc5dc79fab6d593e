"""Load over persistent connections from one process, at the maximum rate or at a fixed rate.

At a fixed rate (open loop), latency counts from the moment when a request was due, even if no connection was free to
send it. A stall of the server then counts for every request that was due meanwhile, which avoids "coordinated
omission".
"""

from __future__ import annotations

import itertools
import re
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

Script = Callable[[bytes], bytes]
"""Function from the body of the last answer (empty at first) to the bytes of the next request of a connection."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CODE = re.compile(rb'"code": *"(\w+)"')

#: Statuses after which a client sends the same request again.
PASSING = (429, 503)

#: As Retry-After of these answers says.
REPEATED_AFTER_S = 1.0

MOST_REPETITIONS = 60
_RECEIVE_BYTES = 1 << 18
_PATIENCE_S = 30.0


class LoadError(Exception):
    """The server refused a request, or stopped answering."""


@dataclass
class Load:
    """Results of one run."""

    requests: int = 0
    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    """Number of answers after which a request was sent again, by code of the error."""

    @property
    def rate(self) -> float:
        return self.requests / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    """Return a POST request as bytes. It accepts an answer of the same media type."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nAccept: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    def __init__(self, host: str, port: int, script: Script) -> None:
        self.socket = socket.create_connection((host, port), timeout=_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due_s = 0.0
        self._script = script
        self._last = b""
        self._sent = b""
        self._data = b""
        self._wanted = 0
        self.refusal = ""
        """The code of the last answer, if the request is to be sent again."""
        self._refusals = 0

    def ask(self, due_s: float) -> None:
        self.due_s = due_s
        self._sent = self._script(self._last)
        self.socket.sendall(self._sent)

    def repeat(self) -> None:
        """Send the last request again.

        Raises:
            LoadError: it has been sent too often.
        """
        if self._refusals > MOST_REPETITIONS:
            raise LoadError(f"the server refused a request {self._refusals} times, at last with {self.refusal}")
        self.refusal = ""
        self.socket.sendall(self._sent)

    def answered(self, passing: Sequence[int] = ()) -> bool:
        """Receive available data; return whether the answer is complete.

        Raises:
            LoadError: the status is neither 2xx nor one of ``passing``, or the connection was closed.
        """
        received = self.socket.recv(_RECEIVE_BYTES)
        if not received:
            raise LoadError("the server closed a connection")
        self._data += received
        if not self._wanted:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = _LENGTH.search(self._data, 0, end)
            if length is None:
                raise LoadError(f"the server answered without a length: {self._data[:300]!r}")
            self._wanted = end + 4 + int(length[1])
            self._body_at = end + 4
        if len(self._data) < self._wanted:
            return False
        status, body = int(self._data[9:12]), self._data[self._body_at : self._wanted]
        self._data, self._wanted = b"", 0
        if status // 100 == 2:
            self._last, self._refusals = body, 0
        elif status in passing:
            code = _CODE.search(body)
            self.refusal = code[1].decode() if code else "no code"
            self._refusals += 1
        else:
            raise LoadError(f"the server answered {status} {body[:300]!r}")
        return True


class _Client(NamedTuple):
    connections: list[_Connection]
    selector: selectors.BaseSelector


def run(
    url: str | Sequence[str],
    scripts: Sequence[Script],
    *,
    requests: int,
    rate: float | None = None,
    passing: Sequence[int] = (),
) -> Load:
    """Make ``requests`` requests over one connection per script, at ``rate`` per second or as fast as possible.

    With several addresses, the connections use them in turn. After an answer with a status of ``passing``, a connection
    sends its request again when `REPEATED_AFTER_S` have passed.

    Raises:
        LoadError: see `LoadError`.
    """
    urls = itertools.cycle([url] if isinstance(url, str) else url)
    selector = selectors.DefaultSelector()
    connections = [_connect(next(urls), script) for script in scripts]
    for each in connections:
        selector.register(each.socket, selectors.EVENT_READ, each)
    try:
        return _drive(connections, selector, requests, rate, passing)
    finally:
        selector.close()
        for each in connections:
            each.socket.close()


def _connect(url: str, script: Script) -> _Connection:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    return _Connection(place.hostname, place.port, script)


def _drive(
    connections: list[_Connection],
    selector: selectors.BaseSelector,
    requests: int,
    rate: float | None,
    passing: Sequence[int],
) -> Load:
    idle = deque(connections)  # used in turn, because the server closes a connection that sends nothing
    refused: deque[tuple[float, _Connection]] = deque()
    repeated: Counter[str] = Counter()
    latencies: list[float] = []
    sent = 0
    began = time.perf_counter()
    while len(latencies) < requests:
        now = time.perf_counter()
        timeouts = _PATIENCE_S
        while idle and sent < requests:
            due = now if rate is None else began + sent / rate
            if due > now:
                timeouts = due - now
                break
            idle.popleft().ask(due)
            sent += 1
        while refused and refused[0][0] <= now:
            refused.popleft()[1].repeat()
        if refused:
            timeouts = min(timeouts, refused[0][0] - now)
        events = selector.select(timeouts)
        if not events and timeouts == _PATIENCE_S:
            raise LoadError(f"no answer for {_PATIENCE_S:.0f} s")
        for key, _ in events:
            connection: _Connection = key.data
            if not connection.answered(passing):
                continue
            if connection.refusal:
                repeated[connection.refusal] += 1
                refused.append((time.perf_counter() + REPEATED_AFTER_S, connection))
                continue
            latencies.append(time.perf_counter() - connection.due_s)
            idle.append(connection)
    return Load(requests, time.perf_counter() - began, latencies, repeated)
