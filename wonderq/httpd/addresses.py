"""Addresses that count as one client, host names that a broker on loopback accepts, and its public address."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from wonderq.httpd.forwarded import BASE_URL

#: Prefix of an IPv4 address on an IPv6 socket (RFC 4291, section 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_NETWORK_BYTES = 8

_LOOPBACK = re.compile(r"localhost|(?:[a-z0-9_-]+\.)+localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_PORT = re.compile(r":[0-9]*\Z")


def may_be_of_other_site(environ: Mapping[str, Any]) -> bool:
    """Return whether a page of another site may have made a browser send a GET request.

    The application has refused those that state a foreign origin, and most of those that state another site. Browsers
    state no origin for a link or an image. Old ones, and all of them over plain HTTP to another machine, do not send
    ``Sec-Fetch-Site`` either. No page can set an ``Authorization`` header without asking first.
    """
    if "HTTP_AUTHORIZATION" in environ or "HTTP_ORIGIN" in environ:
        return False
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is None:
        user_agent: str = environ.get("HTTP_USER_AGENT", "")
        return user_agent.startswith("Mozilla/")
    return site not in ("same-origin", "none")


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


LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Networks of this machine itself."""

_FORWARDED_PROTO = re.compile(r"""(?:^|[;,\s])proto=("?)(https?)\1(?:$|[;,\s])""", re.IGNORECASE)


class PublicAddress:
    """The address under which clients reach the broker, which may be that of a proxy with TLS."""

    def __init__(self, url: str = "", proxies: Iterable[str] = LOOPBACK) -> None:
        """Always use ``url``, if given. Otherwise believe the ``proxies``, given as addresses or networks."""
        self.url = url
        """The address, if it is configured; else empty."""
        self._proxies = [ipaddress.ip_network(each, strict=False) for each in proxies]
        self._trusts = lru_cache(maxsize=256)(self._is_proxy)

    def of(self, environ: Mapping[str, Any]) -> str:
        """Return the address for the client of a request, given as a WSGI environment."""
        if self.url:
            return self.url
        at_the_edge: str | None = environ.get(BASE_URL)
        if at_the_edge is not None:
            return at_the_edge
        scheme: str = environ["wsgi.url_scheme"]
        host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        given, forwarded = environ.get("HTTP_X_FORWARDED_PROTO"), environ.get("HTTP_FORWARDED")
        if (given is not None or forwarded is not None) and self._trusts(environ.get("REMOTE_ADDR", "")):
            scheme = _scheme_in(given, forwarded) or scheme
        return f"{scheme}://{host}"

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in each for each in self._proxies)


def _scheme_in(given: str | None, forwarded: str | None) -> str | None:
    """Return the scheme that the first proxy saw: in ``X-Forwarded-Proto``, or in ``Forwarded`` (RFC 7239)."""
    first = (given or "").partition(",")[0].strip().lower()
    if first in ("http", "https"):
        return first
    found = _FORWARDED_PROTO.search((forwarded or "").partition(",")[0])
    return found[2].lower() if found else None
