"""Address and key of a broker."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:7979"

_KEY = re.compile("[!-~]+")


class InvalidKeyError(ValueError):
    """The text cannot be an API key. The message does not repeat it."""


class Endpoint(NamedTuple):
    """Address of a broker, and the headers of every request to it."""

    url: str
    """``http://HOST:PORT`` or ``https://HOST:PORT``, without a slash at the end."""
    host: str
    port: int
    is_tls: bool
    headers: dict[str, str]

    @classmethod
    def each(cls, urls: str | Sequence[str] | None, key: str | None) -> tuple[Endpoint, ...]:
        """Return the endpoints of one or several URLs, as a list or separated by commas. Otherwise as `of`.

        Raises:
            ValueError: there is none, one is not an address, or one occurs twice.
            InvalidKeyError: see `of`.
        """
        if urls is None:
            urls = os.environ.get("WONDERQ_URL") or DEFAULT_URL
        given = urls.split(",") if isinstance(urls, str) else urls
        found = tuple(cls.of(each.strip(), key) for each in given)
        if not found:
            raise ValueError("there is no address: give at least one")
        if len({each.url for each in found}) < len(found):
            raise ValueError(f"{', '.join(given)} names an address twice")
        return found

    @classmethod
    def of(cls, url: str | None, key: str | None) -> Endpoint:
        """Return the endpoint of a URL and an API key; None stands for ``WONDERQ_URL`` and ``WONDERQ_KEY``.

        Raises:
            ValueError: the URL is not an address.
            InvalidKeyError: the key is empty, or has characters that no key has.
        """
        if url is None:
            url = os.environ.get("WONDERQ_URL") or DEFAULT_URL
        if key is None:
            key = os.environ.get("WONDERQ_KEY") or None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is not a broker's address: {error}") from error
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
            or parts.fragment
        ):
            raise ValueError(f"{url!r} is not a broker's address: expected http://HOST:PORT or https://HOST:PORT")
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidKeyError(
                "the API key is invalid: it is empty, or contains characters that no key has. "
                "Pass it as 'wonderq key create' printed it"
            )
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        is_tls = parts.scheme == "https"
        port = port or (443 if is_tls else 80)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}:{port}", parts.hostname, port, is_tls, headers)
