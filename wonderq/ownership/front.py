"""The application of a process that shares a log: the broker's while there is one, otherwise that of a stand-by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import CheckHead, Head

#: Paths that a broker answers also while it can store nothing.
_WITHOUT_QUORUM = ("/healthz", "/metrics")


class Front:
    """A WSGI application.

    ``stand_by`` is the application without a broker, and ``refusal`` the error of its requests. ``has_quorum`` returns
    whether the broker can store something.

    Threads: the server's calls it, another one may exchange the application meanwhile.
    """

    def __init__(
        self, stand_by: Any, check_head: CheckHead, refusal: Callable[[], RequestError], has_quorum: Callable[[], bool]
    ) -> None:
        self._stand_by = stand_by
        self._check_head = check_head
        self._refusal = refusal
        self._has_quorum = has_quorum
        self._app: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = self._app
        if app is None or not (self._has_quorum() or environ["PATH_INFO"] in _WITHOUT_QUORUM):
            app = self._stand_by
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    def check_head(self, head: Head) -> RequestError | None:
        """Return the error for a request that is refused before its body is read, or None."""
        return self._refusal() if self._app is None or not self._has_quorum() else self._check_head(head)

    def serve(self, app: Any) -> None:
        """Pass the requests on to a broker's application."""
        self._app = app

    def stand_by(self) -> None:
        """Answer the requests without a broker."""
        self._app = None
