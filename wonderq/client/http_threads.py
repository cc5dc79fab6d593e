"""HTTP for threads, by urllib3.

Its pool is safe to share between threads, checks connections before it uses them again, and is what botocore uses. When
it was chosen, a request took about half the CPU time that it took with httpx.
"""

from __future__ import annotations

import errno
import http.client
import io
import socket
import threading
import time
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
    timeout_s = 0.0
    """Seconds that the answer may take from when the request has a connection."""
    ends_s = 0.0


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


class _UntilEnd(io.RawIOBase):
    """Reads an answer until its time is over. A socket's own timeout begins anew with each byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._ends_s = _exchange.ends_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the answer took too long")
        self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """Socket that `http.client` reads an answer from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_UntilEnd(self._sock))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(_TimedSocket(sock), *arguments, **options)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    """A connection whose requests end in time, that a poll can break, and that is not with itself."""

    response_class = _Response

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request."""
        _exchange.ends_s = time.monotonic() + _exchange.timeout_s
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
        _exchange.timeout_s = request.timeout_s
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
            cause = _cause(error)
            return NoAnswer(f"{self._url} cannot be reached: {_reason(cause)}", outcome_unknown=False, cause=cause)
        except (HTTPError, OSError) as error:
            cause = _cause(error)
            return NoAnswer(f"{self._url} did not answer: {_reason(cause)}", outcome_unknown=True, cause=cause)
        return Answer(response.status, response.data, retry_after_of(response.headers.get("Retry-After")))

    def close(self) -> None:
        self._pool.close()


def _cause(error: Exception) -> Exception:
    """Return the innermost cause, in which the operating system gives the reason."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
