"""Addresses of endpoints: each lookup is checked, and the connection is made to an address that was checked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread

from wonderq.model.push_hosts import PushHosts

#: Longest time that an attempt waits until its lookup begins.
_TURN_S = 5.0

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


class HostLookup:
    """The lookup of one host. It waits for its turn, runs, and has a result."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.found: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """Note that it runs."""
        self._begun.set()

    def end(self, found: Sequence[str], error: Exception | None) -> None:
        """Note its result."""
        if error is None:
            self.found.set_result(found)
        else:
            self.found.set_exception(error)
            self.found.exception()  # nobody may be waiting for it any more

    async def has_begun(self) -> bool:
        """Wait for its turn; return False if that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TURN_S):
                await self._begun.wait()
        return self._begun.is_set()


class Resolver:
    """Finds the permitted addresses of endpoints. Lookups of one host at the same time are one lookup.

    A lookup blocks a thread until the name server answers, which may take longer than an attempt. So each lookup has a
    thread of its own, up to a bound. The threads are daemons, so that none of them delays the end of the process.
    """

    def __init__(self, hosts: PushHosts, most: int, lookup: Lookup = look_up) -> None:
        """Make up to ``most`` lookups at a time."""
        self._hosts = hosts
        self._most = most
        self._lookup = lookup
        self._threads = 0
        self._lookups: dict[str, HostLookup] = {}
        self._waiting: deque[HostLookup] = deque()

    def lookup(self, host: str) -> HostLookup:
        """Return the lookup of a host, which begins as soon as there is a thread for it."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = HostLookup(host)
            try:
                address = str(ipaddress.ip_address(host))
            except ValueError:
                self._lookups[host] = lookup
                self._waiting.append(lookup)
            else:
                lookup.begin()
                lookup.end([address], None)
        self._begin_waiting()
        return lookup

    async def addresses(self, lookup: HostLookup) -> list[str]:
        """Return the addresses of an endpoint's host that the broker may connect to, at least one.

        Raises:
            ForbiddenAddressError: there is none.
            OSError: the host was not found.
        """
        found = await asyncio.shield(lookup.found)
        permitted = [each for each in dict.fromkeys(found) if self._permits(each)]
        if not permitted:
            raise ForbiddenAddressError(lookup.host, list(found))
        return permitted[:_MOST_ADDRESSES]

    def _begin_waiting(self) -> None:
        """Begin the lookups that wait, the oldest first, as far as there are threads."""
        while self._waiting and self._threads < self._most:
            lookup = self._waiting[0]
            arguments = (asyncio.get_running_loop(), lookup)
            try:
                Thread(target=self._run, args=arguments, name="wonderq-push-dns", daemon=True).start()
            except RuntimeError:  # the system has no thread now; the next attempt asks again
                return
            self._waiting.popleft()
            self._threads += 1
            lookup.begin()

    def _run(self, loop: asyncio.AbstractEventLoop, lookup: HostLookup) -> None:
        """Look a host up, in a thread of its own."""
        found: Sequence[str] = []
        failed: Exception | None = None
        try:
            found = self._lookup(lookup.host)
        except Exception as error:  # noqa: BLE001 - it is the result
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._end, lookup, found, failed)

    def _end(self, lookup: HostLookup, found: Sequence[str], error: Exception | None) -> None:
        self._threads -= 1
        del self._lookups[lookup.host]
        lookup.end(found, error)
        self._begin_waiting()

    def _permits(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return self._hosts.permits_address(address)

    def close(self) -> None:
        """Start no more lookups. Those that run end by themselves."""
        self._waiting.clear()
