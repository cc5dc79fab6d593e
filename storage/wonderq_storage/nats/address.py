"""Addresses of NATS servers, as users write them."""

from __future__ import annotations

from dataclasses import dataclass, field
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
