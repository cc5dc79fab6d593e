"""Addresses of endpoints: each lookup is checked, and the connection is made to an address that was checked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from wonderq.model.push import Endpoint
from wonderq.model.push_hosts import PushHosts

#: Lookups at a time. A lookup blocks a thread until the name server answers.
_LOOKUPS = 16

#: Most addresses of a host that are tried in one attempt.
_MOST_ADDRESSES = 4

Lookup = Callable[[str], Sequence[str]]
"""Returns the addresses of a host name, or raises `OSError`."""


class ForbiddenAddressError(Exception):
    """A host has no address to which the broker may deliver."""

    def __init__(self, host: str, addresses: Sequence[str]) -> None:
        super().__init__(
            f"{host} leads to {', '.join(addresses[:_MOST_ADDRESSES])}, which is not a public address. If it is right, "
            "name its network with --push-hosts."
        )


def look_up(host: str) -> list[str]:
    """Return the addresses of a host name: a `Lookup`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Resolver:
    """Finds the permitted addresses of endpoints. Lookups of one host at the same time are one lookup."""

    def __init__(self, hosts: PushHosts, lookup: Lookup = look_up) -> None:
        self._hosts = hosts
        self._lookup = lookup
        self._pool = ThreadPoolExecutor(_LOOKUPS, "wonderq-push-dns")
        self._running: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, endpoint: Endpoint) -> list[str]:
        """Return the addresses of an endpoint that the broker may connect to, at least one.

        Raises:
            ForbiddenAddressError: there is none.
            OSError: the host was not found.
        """
        host = endpoint.host
        try:
            found: Sequence[str] = [str(ipaddress.ip_address(host))]
        except ValueError:
            found = await asyncio.shield(self._looked_up(host))
        permitted = [each for each in dict.fromkeys(found) if self._permits(each)]
        if not permitted:
            raise ForbiddenAddressError(host, list(found))
        return permitted[:_MOST_ADDRESSES]

    def _looked_up(self, host: str) -> asyncio.Future[Sequence[str]]:
        running = self._running.get(host)
        if running is None:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._lookup, host)
            self._running[host] = running
            running.add_done_callback(lambda done: self._end(host, done))
        return running

    def _end(self, host: str, done: asyncio.Future[Sequence[str]]) -> None:
        del self._running[host]
        if not done.cancelled():
            done.exception()  # nobody may be waiting for it any more

    def _permits(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return self._hosts.permits_address(address)

    def close(self) -> None:
        """Start no more lookups. Those that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
