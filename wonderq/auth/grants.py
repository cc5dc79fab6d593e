"""Requests whose key another node of the cluster has checked: they come with the key's id instead of the key itself."""

from __future__ import annotations

import secrets
from hmac import compare_digest

_SCHEME = "Granted "

#: Id that no key has, for requests of the nodes themselves.
_OF_A_NODE = "-"


class Grants:
    """Values that stand where other requests have an ``Authorization`` header.

    They begin with a secret of this process, so only this process can make them. No client can.
    """

    def __init__(self) -> None:
        self._prefix = f"{_SCHEME}{secrets.token_urlsafe(32)} "

    def header_of(self, key_id: str | None) -> str:
        """Return the value for a key, or for None of a request that a node makes for itself."""
        return self._prefix + (key_id or _OF_A_NODE)

    def has(self, authorization: str | None) -> bool:
        """Return whether a value is one of these."""
        if authorization is None or not authorization.startswith(_SCHEME):
            return False
        return compare_digest(authorization[: len(self._prefix)].encode(), self._prefix.encode())

    def key_id_of(self, authorization: str) -> str | None:
        """Return the id of the key, or None for a request of a node. `has` must hold."""
        key_id = authorization[len(self._prefix) :]
        return None if key_id == _OF_A_NODE else key_id
