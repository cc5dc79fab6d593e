"""One TCP connection, plain or TLS, with a time limit for every call."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_RECEIVE_BYTES = 256 << 10
_TLS_READ_BYTES = 64 << 10

#: Bytes of messages that wait to be sent by another thread. A server that is this far behind is given up.
_MOST_POSTED_BYTES = 64 << 20


class Link:
    """A connection that one thread reads, while any number of threads write whole messages.

    The socket does not block. `select.poll` waits instead, because a timeout of a Python socket is the same for both
    directions, and a TLS socket may not be read and written at the same time.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._sending = threading.Lock()
        self._tls: _Tls | None = None
        self._posting = threading.Lock()
        self._posted_bytes = 0  # of messages that `_poster` has to send
        self._poster: ThreadPoolExecutor | None = None
        self.is_open = True
        """Whether messages can still be sent."""

    def start_tls(self, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
        """Do the TLS handshake. All later bytes are encrypted.

        Raises:
            OSError: the handshake failed (`ssl.SSLError`), or took too long (`TimeoutError`).
        """
        deadline_s = time.monotonic() + timeout_s
        tls = _Tls(context, host)
        while True:
            is_complete, answer = tls.handshake()
            self._send_all(answer, deadline_s)
            if is_complete:
                break
            tls.take(self._receive_raw(deadline_s - time.monotonic()))
        self._tls = tls

    def receive(self, timeout_s: float) -> bytes:
        """Return the next bytes, or nothing if no whole TLS record has arrived.

        Raises:
            TimeoutError: nothing came in time.
            OSError: the connection is at its end.
        """
        data = self._receive_raw(timeout_s)
        return data if self._tls is None else self._tls.decrypt(data)

    def receive_now(self) -> bytes:
        """Return the next bytes that have arrived, or nothing if no whole TLS record has. Does not wait.

        Raises:
            OSError: the connection is at its end.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data if self._tls is None else self._tls.decrypt(data)

    @property
    def descriptor(self) -> int:
        """The file descriptor of the socket."""
        return self._socket.fileno()

    def _receive_raw(self, timeout_s: float) -> bytes:
        self._await(select.POLLIN, timeout_s)
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send a message as a whole.

        Raises:
            TimeoutError: the server does not read. Nothing was sent, or the connection is shut down.
            OSError: the connection is at its end.
        """
        deadline_s = time.monotonic() + timeout_s
        if not self._sending.acquire(timeout=max(timeout_s, 0)):
            raise TimeoutError("another message is still being sent")
        try:
            if not self.is_open:
                raise ConnectionResetError("the connection is closed")
            if self._tls is not None:
                data = self._tls.encrypt(data)
            try:
                self._send_all(data, deadline_s)
            except OSError:
                self.shut_down()  # a part may be sent, so nothing else may follow
                raise
        finally:
            self._sending.release()

    def post(self, data: bytes, timeout_s: float) -> None:
        """Send a message as a whole, without waiting: another thread sends what the socket does not take at once.

        Messages that one thread posts are sent in their order.

        Raises:
            OSError: the connection is at its end, or the server is too far behind, so that it is shut down.
        """
        with self._posting:
            if self._posted_bytes > _MOST_POSTED_BYTES:
                self.shut_down()
            if not self.is_open:
                raise ConnectionResetError("the connection is closed")
            if self._posted_bytes or not self._sending.acquire(blocking=False):
                self._post(len(data), lambda: self.send(data, timeout_s))
                return
            try:
                rest = self._send_some(data)
            except BaseException:
                self._sending.release()
                raise
            if not rest:
                self._sending.release()
                return
            try:
                self._post(len(rest), lambda: self._send_rest(rest, timeout_s))
            except BaseException:
                self._sending.release()
                raise

    def _send_some(self, data: bytes) -> bytes:
        """Send as much as the socket takes at once; return the rest."""
        if self._tls is not None:
            data = self._tls.encrypt(data)
        try:
            return data[self._socket.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            self.shut_down()
            raise

    def _send_rest(self, rest: bytes, timeout_s: float) -> None:
        """Send the rest of a message whose beginning was sent, and let others send."""
        try:
            self._send_all(rest, time.monotonic() + timeout_s)
        except OSError:
            self.shut_down()
            raise
        finally:
            self._sending.release()

    def _post(self, size: int, work: Callable[[], None]) -> None:
        """Have another thread send something, after all that it has to send already."""

        def run() -> None:
            with contextlib.suppress(OSError):  # the connection is shut down, which its reader notices
                work()
            with self._posting:
                self._posted_bytes -= size

        if self._poster is None:
            self._poster = ThreadPoolExecutor(1, "wonderq-nats-post")
        try:
            self._poster.submit(run)
        except RuntimeError as error:  # there are too many threads
            self.shut_down()
            raise ConnectionAbortedError(f"nothing can send the rest: {error}") from error
        self._posted_bytes += size

    def _send_all(self, data: bytes, deadline_s: float) -> None:
        with memoryview(data) as view:
            at = 0
            while at < len(data):
                try:
                    at += self._socket.send(view[at:])
                except BlockingIOError:
                    self._await(select.POLLOUT, deadline_s - time.monotonic())

    def _await(self, event: int, timeout_s: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        if timeout_s <= 0 or not poll.poll(timeout_s * 1000):
            raise TimeoutError("the server does not answer")

    def shut_down(self) -> None:
        """End the connection for all threads. The reader closes it then."""
        self.is_open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. Only the thread that reads may do so. Idempotent."""
        self.shut_down()
        with self._posting:
            if self._poster is not None:
                self._poster.shutdown(wait=False)
        with self._sending:
            self._socket.close()


class _Tls:
    """TLS in memory. A lock keeps the two directions apart, which OpenSSL requires."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        self._lock = threading.Lock()

    def handshake(self) -> tuple[bool, bytes]:
        """Go on with the handshake; return whether it is complete, and the bytes to send."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False, self._to_send.read()
        return True, self._to_send.read()

    def take(self, data: bytes) -> None:
        """Add received bytes."""
        self._received.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Return the bytes that send ``data``, after any that the protocol itself has to send."""
        with self._lock, memoryview(data) as view:
            at = 0
            while at < len(data):
                at += self._object.write(view[at:])
            return self._to_send.read()

    def decrypt(self, data: bytes) -> bytes:
        """Add received bytes, and return what they decrypt to."""
        parts = []
        with self._lock:
            self._received.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                while part := self._object.read(_TLS_READ_BYTES):
                    parts.append(part)
        return b"".join(parts)
