"""Client addresses that count as one client, and host names that a broker on loopback accepts."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import lru_cache

#: Prefix of an IPv4 address on an IPv6 socket (RFC 4291, section 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_NETWORK_BYTES = 8

_LOOPBACK = re.compile(r"localhost|(?:[a-z0-9_-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_PORT = re.compile(r":[0-9]*\Z")


def network(address: str) -> str | bytes:
    """Return the key of a client: its IPv4 address, or the first 64 bits of its IPv6 address.

    An IPv6 subnet has 64 bits (RFC 4291, section 2.5.4), and a host in it can use any of its 2**64 addresses.
    """
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed if packed.startswith(_MAPPED) else packed[:_NETWORK_BYTES]


class TrustedHosts:
    """Values of the ``Host`` header that a broker on loopback accepts.

    This is the defence against DNS rebinding. A web page can make the name of its own server resolve to 127.0.0.1 after
    it was loaded. The browser then treats requests to the broker as requests to the page's own site; only ``Host``
    differs.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Accept ``names``, given without a port, besides ``localhost`` and the loopback addresses."""
        self._names = {f"[{name}]" if ":" in name else name for name in map(str.lower, names)}
        self.accept = lru_cache(maxsize=256)(self._accept)
        """Return whether a value of ``Host`` is trusted."""

    def _accept(self, host: str) -> bool:
        name = _PORT.sub("", host.lower()).removesuffix(".")
        return _LOOPBACK.fullmatch(name) is not None or name in self._names
