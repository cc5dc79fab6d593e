"""HTTP for threads, by urllib3.

Its pool is safe to share between threads, checks connections before it uses them again, and is what botocore uses. When
it was chosen, a request took about half the CPU time that it took with httpx.
"""

from __future__ import annotations

import errno
import socket
import threading
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, EmptyPoolError, HTTPError, NewConnectionError

from wonderq.client.endpoint import Endpoint
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer, Request, retry_after_of


class _Exchange(threading.local):
    """The request that a thread has under way."""

    current: _Cut | None = None


class _Cut:
    """Breaks the connection of one request, from another thread."""

    def __init__(self) -> None:
        self.is_cut = False
        self._connection: HTTPConnection | None = None

    def use(self, connection: HTTPConnection) -> None:
        """Note the connection of the request."""
        self._connection = connection
        self.check()

    def check(self) -> None:
        """Raise an error if the connection is to break: it may not have been there when `cut` was called."""
        if self.is_cut:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the poll was cancelled")

    def cut(self) -> None:
        self.is_cut = True
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with suppress(OSError):  # it is closed already
                sock.shutdown(socket.SHUT_RDWR)


_exchange = _Exchange()


class _Connection(HTTPConnection):
    """A connection that a poll can break, and that is not with itself."""

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request."""
        cut = _exchange.current
        if cut is None:
            super().request(*arguments, **options)
            return
        cut.use(self)
        super().request(*arguments, **options)
        cut.check()

    def connect(self) -> None:
        """Connect to the broker."""
        super().connect()
        if self.sock.getsockname() == self.sock.getpeername():
            # If nothing listens on an ephemeral port, a client can connect to itself.
            self.close()
            raise NewConnectionError(self, "Connection refused")


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class HttpPool:
    """A pool of connections to one broker."""

    def __init__(self, endpoint: Endpoint, connections: int, connect_timeout_s: float) -> None:
        self._url = endpoint.url
        self._connect_timeout_s = connect_timeout_s
        kind = _TlsPool if endpoint.is_tls else _Pool
        self._headers = endpoint.headers
        self._pool = kind(endpoint.host, endpoint.port, maxsize=connections, block=True)

    def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        """Send a request and return what came of it.

        Raises:
            PollCancelled: the poll was cancelled before the answer came.
            RuntimeError: the pool is closed.
        """
        if poll is None:
            return self._exchange(request)
        cut = _exchange.current = _Cut()
        try:
            with poll.interrupted_by(cut.cut):
                outcome = self._exchange(request)
        finally:
            _exchange.current = None
        if cut.is_cut and isinstance(outcome, NoAnswer):
            raise PollCancelled
        return outcome

    def _exchange(self, request: Request) -> Answer | NoAnswer:
        try:
            response = self._pool.urlopen(
                request.method,
                request.target,
                body=request.body,
                headers={**self._headers, "Content-Type": request.media_type},
                retries=False,
                timeout=urllib3.Timeout(
                    connect=min(self._connect_timeout_s, request.timeout_s), read=request.timeout_s
                ),
                pool_timeout=request.timeout_s,  # type: ignore[arg-type]  # any number of seconds works
            )
        except ClosedPoolError as error:
            raise RuntimeError("the client is closed") from error
        except EmptyPoolError:
            return NoAnswer("all connections of the client are in use: give it a larger pool", outcome_unknown=False)
        except (NewConnectionError, ConnectTimeoutError) as error:
            return NoAnswer(f"{self._url} cannot be reached: {_reason(error)}", outcome_unknown=False)
        except (HTTPError, OSError) as error:
            return NoAnswer(f"{self._url} did not answer: {_reason(error)}", outcome_unknown=True)
        return Answer(response.status, response.data, retry_after_of(response.headers.get("Retry-After")))

    def close(self) -> None:
        self._pool.close()


def _reason(error: Exception) -> str:
    """Return the innermost cause, in which the operating system gives the reason."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
