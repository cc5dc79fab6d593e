"""Arguments of the clients for threads and asyncio."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import msgspec

from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import Unreachable
from wonderq.client.retries import Retries

#: Most characters of a host in the name of a consumer, which has 64 with the process.
_HOST_LENGTH = 50


def this_process() -> str:
    """Return the host and the number of this process, for the argument ``consumer``."""
    return f"{socket.gethostname()[:_HOST_LENGTH]}:{os.getpid()}"


class EngineOptions(msgspec.Struct, frozen=True):
    """Arguments of a client."""

    endpoints: tuple[Endpoint, ...]
    """Addresses of the broker, or of the nodes of a cluster."""
    retries: Retries
    connections: int
    connect_timeout_s: float
    buffer_bytes: int
    consumer: str | None

    @classmethod
    def of(
        cls,
        url: str | Sequence[str] | None,
        key: str | None,
        retries: int,
        pool: int,
        timeout: float,
        connect_timeout: float,
        read_timeout: float,
        buffer: int,
        consumer: str | None,
    ) -> EngineOptions:
        """Check the arguments of a client.

        Raises:
            ValueError: an argument is out of range, or the URL or the key is malformed.
        """
        if retries < 0:
            raise ValueError("retries is a number of repetitions: 0 or more")
        if pool < 1:
            raise ValueError("pool is a number of connections: 1 or more")
        if min(timeout, connect_timeout, read_timeout) <= 0:
            raise ValueError("timeouts are in seconds, and more than 0")
        if buffer < 1:
            raise ValueError("buffer is a number of bytes: 1 or more")
        policy = Retries(retries, read_s=read_timeout, total_s=timeout)
        return cls(Endpoint.each(url, key), policy, pool, connect_timeout, buffer, consumer)

    @property
    def endpoint(self) -> Endpoint:
        """The first address."""
        return self.endpoints[0]

    def buffer_full(self) -> Unreachable:
        """Return the error of a call that found no room in the buffer within its total time."""
        message = f"the buffer of {self.buffer_bytes} bytes was full for {self.retries.total_s:g} s"
        return Unreachable(message, outcome_unknown=False)
