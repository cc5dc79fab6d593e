"""Binding the addresses that a server listens on."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import ExitStack

logger = logging.getLogger("wonderq.http")

#: Stands for all addresses of this machine, of IPv6 and of IPv4.
_ANY_IPV6 = "::"

#: Attempts to find a port that is free on all addresses of a name.
_ATTEMPTS = 20

#: Errors of an address that this machine does not have, such as ``::1`` where IPv6 is switched off.
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address that ``host`` stands for, IPv4 first. None of them listens yet.

    ``::`` stands for all addresses of IPv6 and IPv4. An address that this machine does not have is left out if ``host``
    has others. Port 0 takes one port that is free on all of them.

    Raises:
        OSError: an address or the port is in use or cannot be used. Nothing is bound.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[_Address] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    addresses.sort(key=lambda each: each[0] != socket.AF_INET)
    for attempt in range(_ATTEMPTS):
        try:
            return _bind_all(addresses)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _bind_all(addresses: list[_Address]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: list[OSError] = []
    with ExitStack() as stack:
        for family, address in addresses:
            if sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])  # noqa: PLW2901
            try:
                sockets.append(stack.enter_context(_bind_one(family, address)))
            except OSError as error:
                if error.errno not in _NO_ADDRESS:
                    raise
                missing.append(error)
        if not sockets:
            raise missing[0]
        for each in missing:
            logger.warning("listening on %s only: %s", _names(sockets), each.strerror)
        stack.pop_all()
    return sockets


def _bind_one(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    new = socket.socket(family, socket.SOCK_STREAM)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != _ANY_IPV6)
        new.bind(address)
    except BaseException:
        new.close()
        raise
    return new


def _names(sockets: list[socket.socket]) -> str:
    return " and ".join(url_of(each.getsockname()) for each in sockets)


def url_of(address: tuple[object, ...]) -> str:
    """Return the URL of a socket's address."""
    host, port, *_ = address
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"
