"""Clients as they are in the field: some speak msgpack, some reconnect for each call, some hang up before the answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import msgpack
import msgspec

from tests.support.history.recording import AbandonedError
from tests.support.queue_client import QueueClient

_MSGPACK = "application/msgpack"

#: Chances of each call.
_PACKED, _RECONNECTS, _HANGS_UP, _SENDS_HALF = 0.5, 0.1, 0.004, 0.002


class _MixedConnection(HTTPConnection):
    """Turns the client's JSON into msgpack and back for some calls, and does not see each through to its end."""

    def __init__(self, host: str, port: int, timeout: float, rng: random.Random) -> None:
        super().__init__(host, port, timeout=timeout)
        self._random = rng

    def request(  # type: ignore[override] # as `Client` calls it
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> None:
        sent = dict(headers)
        if self._random.random() < _PACKED:
            sent["Accept"] = _MSGPACK
            if body is not None:
                body = msgpack.packb(msgspec.json.decode(body))
                sent["Content-Type"] = _MSGPACK
        # Only calls that are recorded one by one may have an open end.
        may_end = "/messages/" in url and "/dev/" not in url
        choice = self._random.random() if may_end else 1.0
        if body is not None and choice < _SENDS_HALF:
            sent["Content-Length"] = str(len(body) + 10)
        super().request(method, url, body, sent)
        if choice < _SENDS_HALF + _HANGS_UP:
            self.close()
            raise AbandonedError("the client hung up")

    def getresponse(self) -> Any:
        response = super().getresponse()
        answer = _Answer(response)
        if self._random.random() < _RECONNECTS:
            self.close()
        return answer


class _Answer:
    """A response that has been read, as JSON."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self._data = response.read()
        if response.headers.get_content_type() == _MSGPACK:
            self._data = msgspec.json.encode(msgpack.unpackb(self._data))

    def read(self) -> bytes:
        return self._data


class _MixedClient(QueueClient):
    def __init__(self, url: str, *, queue: str, timeout: float, rng: random.Random) -> None:
        super().__init__(url, queue=queue, timeout=timeout)
        plain = self._connection
        self._connection = _MixedConnection(plain.host, plain.port, timeout, rng)


def mixed(rng: random.Random) -> Callable[..., QueueClient]:
    """Return what makes such clients, for `RecordingClient`."""

    def make(url: str, *, queue: str, timeout: float) -> QueueClient:
        return _MixedClient(url, queue=queue, timeout=timeout, rng=rng)

    return make
