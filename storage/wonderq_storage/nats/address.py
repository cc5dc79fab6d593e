"""Addresses of NATS servers, as users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

DEFAULT_PORT = 4222


@dataclass(frozen=True, slots=True)
class Address:
    """A server and the credentials for it. The text form has no credentials."""

    host: str
    port: int
    tls: bool
    """Whether the address demands TLS. The server may demand it as well."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


def parse_addresses(text: str) -> list[Address]:
    """Read a comma-separated list such as ``nats://user:password@host:4222,tls://token@other``.

    Raises:
        ValueError: the text is no such list. The message does not contain credentials.
    """
    return [_parse(each.strip()) for each in text.split(",")]


@dataclass(frozen=True, slots=True)
class LogAddress:
    """The place of a log in JetStream. The text form has no credentials."""

    servers: tuple[Address, ...]
    stream: str

    def __str__(self) -> str:
        scheme = str(self.servers[0]).partition("://")[0]
        return f"{scheme}://{','.join(str(each).partition('://')[2] for each in self.servers)}/{self.stream}"


def parse_log_address(text: str, *, default_stream: str) -> LogAddress:
    """Read an address such as ``nats://user:password@host:4222,other:4222/NAME``.

    The name of the stream may be missing. The scheme and the credentials count for all servers, unless a server has its
    own.

    Raises:
        ValueError: the text is no such address. The message does not contain credentials.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("nats", "tls"):
        raise ValueError("expected an address such as nats://host:4222, or nats://host1:4222,host2:4222/NAME")
    *before, last = rest.split(",")
    own_scheme, separator, last = last.rpartition("://")
    last, _, stream = last.partition("/")
    hosts = [*before, f"{own_scheme}{separator}{last}"]
    if stream and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", stream):
        raise ValueError("the name after the servers must have 1 to 64 of the characters A-Z a-z 0-9 _ and -")
    first, *others = [_parse(each if "://" in each else f"{scheme}://{each}") for each in hosts]
    servers = [first]
    for each in others:
        has_own = each.user is not None or each.token is not None
        servers.append(each if has_own else replace(each, user=first.user, password=first.password, token=first.token))
    return LogAddress(tuple(servers), stream or default_stream)


def _parse(text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORT
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise ValueError("no scheme, or no host")
    except ValueError:
        raise ValueError(
            "the address of a NATS server must look like nats://host:4222 or tls://user:password@host:4222"
        ) from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"the address of the NATS server {parts.hostname} must end after its port")
    user, password = parts.username, parts.password
    return Address(
        parts.hostname,
        port,
        parts.scheme == "tls",
        user=unquote(user) if user and password is not None else None,
        password=unquote(password) if password is not None else None,
        token=unquote(user) if user and password is None else None,
    )
