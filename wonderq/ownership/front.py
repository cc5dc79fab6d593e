"""The application of a process that shares a log: the broker's while there is one, otherwise that of a stand-by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import CheckHead, Head
from wonderq.httpd.parser import BodyLimit

#: Paths that a broker answers also while it can store nothing.
_WITHOUT_QUORUM = ("/healthz", "/metrics")


#: A body up to this size usually arrives together with its head.
_SMALL_BYTES = 1 << 14


class Front:
    """A WSGI application.

    ``has_quorum`` returns whether the broker can store something at present.

    Threads: the server's calls it, another one may exchange the application meanwhile.
    """

    def __init__(self, has_quorum: Callable[[], bool], refusal: Callable[[], RequestError]) -> None:
        """``refusal`` returns the error of requests while there is no broker, or no quorum."""
        self._has_quorum = has_quorum
        self._refusal = refusal
        self._stand_by: Any = None
        self._check_head: CheckHead = lambda _: None
        self._app: Any = None

    def set_up(self, stand_by: Any, check_head: CheckHead) -> None:
        """Set the application without a broker, and the check of heads for that with one, before the first request."""
        self._stand_by, self._check_head = stand_by, check_head

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = self._app
        if app is None or not (self._has_quorum() or environ["PATH_INFO"] in _WITHOUT_QUORUM):
            app = self._stand_by
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    def check_head(self, head: Head) -> RequestError | None:
        """Return the error for a request that is refused before its body is read, or None.

        A small body arrives with the head anyway, and its connection can go on after a refusal by the application.
        """
        if self._app is not None and self._has_quorum():
            return self._check_head(head)
        is_small = head.body_bytes is not None and head.body_bytes <= _SMALL_BYTES
        return None if is_small else self._refusal()

    def limit_of(self, limit: BodyLimit, most_bytes: int) -> BodyLimit:
        """Return ``limit`` for a broker, and ``most_bytes`` without one: the routes are not known then."""
        return lambda method, path: most_bytes if self._app is None else limit(method, path)

    def serve(self, app: Any) -> None:
        """Pass the requests on to a broker's application."""
        self._app = app

    def stand_by(self) -> None:
        """Answer the requests without a broker."""
        self._app = None
