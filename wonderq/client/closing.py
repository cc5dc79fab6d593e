"""The end of a client."""

from __future__ import annotations


class ClientClosedError(RuntimeError):
    """The client is closed. This is no `WonderQError`: the caller is to blame, and no broker."""

    def __init__(self) -> None:
        super().__init__("the client is closed")
