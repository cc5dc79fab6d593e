"""The hosts that the broker may deliver to: names and networks that its operator has listed.

Two rules hold together. The host of an endpoint must be listed by name. The address to which its name leads must be
public, or be in a listed network. So nobody who controls a name can lead the broker into the network behind it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"\*|(?:\*\.)?[0-9a-z_-]{1,63}(?:\.[0-9a-z_-]{1,63})*")

#: Networks of IPv6 that may lead to addresses of IPv4 which are not public: tunnels, and translation of addresses.
#: Some versions of `ipaddress` take some of them for public.
_NOT_PUBLIC = tuple(
    map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fec0::/10"))
)


class PushHosts:
    """The listed hosts. Without any, push is off."""

    def __init__(self, items: Sequence[str] = ()) -> None:
        """Read names such as ``hooks.example.com`` and ``*.example.com``, addresses, and networks.

        ``*`` stands for every name.

        Raises:
            ValueError: an item is none of these.
        """
        self.items = tuple(items)
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[Network] = []
        for item in map(str.lower, items):
            try:
                self._networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError as error:
                if not _NAME.fullmatch(item) or item.replace(".", "").isdigit():
                    raise ValueError(f"{item} is neither a host name nor a network") from error
                if item == "*":
                    self._suffixes.append("")
                elif item.startswith("*."):
                    self._suffixes.append(item[1:])
                else:
                    self._names.add(item)

    @classmethod
    def anywhere(cls) -> Self:
        """Return the list that permits every host: for tools that store subscriptions, and deliver nothing."""
        return cls(("*", "0.0.0.0/0", "::/0"))

    @property
    def is_empty(self) -> bool:
        """Whether push is off."""
        return not self.items

    def permits_host(self, host: str) -> bool:
        """Return whether a host is listed: a name, or an address itself."""
        try:
            return self.permits_address(ipaddress.ip_address(host), by_name="" in self._suffixes)
        except ValueError:
            name = host.lower().removesuffix(".")
            return name in self._names or any(name.endswith(each) for each in self._suffixes)

    def permits_address(self, address: Address, *, by_name: bool = True) -> bool:
        """Return whether the broker may connect to an address.

        ``by_name`` says whether a listed name leads to it, so that a public address need not be listed.
        """
        found = _unwrapped(address)
        return any(found in each for each in self._networks) or (by_name and is_public(found))


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public internet."""
    found = _unwrapped(address)
    special = found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback
    if special or found.is_link_local or not found.is_global:
        return False
    return found.version == 4 or not any(found in each for each in _NOT_PUBLIC)


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address maps, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
