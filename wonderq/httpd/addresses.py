"""Which addresses belong together, and under which names a broker on loopback is asked for."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import lru_cache

#: An IPv4 address as sockets of IPv6 show it (RFC 4291, section 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_NETWORK_BYTES = 8

_LOOPBACK = re.compile(r"localhost|(?:[a-z0-9_-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_PORT = re.compile(r":[0-9]*\Z")


def network(address: str) -> str | bytes:
    """Return what the connections of one client have in common: its IPv4 address, or the first 64 bits of its IPv6 address.

    A network of IPv6 has that many bits (RFC 4291, section 2.5.4), and whoever is in it may use any of its 2**64 addresses.
    """
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed if packed.startswith(_MAPPED) else packed[:_NETWORK_BYTES]


class TrustedHosts:
    """Names in the ``Host`` header that mean a broker on loopback.

    A page of any site can have the name of its own server point to 127.0.0.1 once it is loaded (DNS rebinding). To the
    browser, what it then asks of the broker is asked of its own site; only the name in ``Host`` tells.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """``names``, without a port, are accepted besides those that always mean this machine."""
        self._names = {f"[{name}]" if ":" in name else name for name in map(str.lower, names)}
        self.accept = lru_cache(maxsize=256)(self._accept)

    def _accept(self, host: str) -> bool:
        name = _PORT.sub("", host.lower()).removesuffix(".")
        return _LOOPBACK.fullmatch(name) is not None or name in self._names
