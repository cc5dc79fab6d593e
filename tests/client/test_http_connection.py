"""Requests and answers of the client for threads, as bytes."""

from __future__ import annotations

import gc
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S
from wonderq.client.endpoint import Endpoint
from wonderq.client.http_connection import Connection
from wonderq.client.http_threads import HttpPool, _Cut
from wonderq.client.requests import Answer, NoAnswer, Request

REQUEST = Request.of("POST", "/messages/produce", {"message": "x"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


class Script:
    """A server that answers the requests of each connection with given bytes, and then closes it."""

    def __init__(self, connections: Sequence[Sequence[Sequence[bytes]]], tls: ssl.SSLContext | None = None) -> None:
        """Each connection has its requests, and each of them the pieces of its answer."""
        self.requests: list[bytes] = []
        self.accepted = 0
        self._connections = connections
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            for answers in self._connections:
                connection, _ = self._socket.accept()
                self.accepted += 1
                with connection, suppress(OSError):
                    self._serve(connection if self._tls is None else self._tls.wrap_socket(connection, True), answers)

    def _serve(self, connection: socket.socket, answers: Sequence[Sequence[bytes]]) -> None:
        with connection:
            for pieces in answers:
                request = b""
                while not request.endswith(REQUEST.body or b""):
                    received = connection.recv(65536)
                    if not received:
                        return
                    request += received
                self.requests.append(request)
                for piece in pieces:
                    connection.sendall(piece)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@contextmanager
def script(*connections: Sequence[Sequence[bytes]]) -> Iterator[tuple[Script, Callable[[], Answer | NoAnswer]]]:
    """Run a server, and yield it with a function that sends it a request."""
    server = Script(connections)
    pool = HttpPool(Endpoint.of(f"http://{server.address}", "secret"), 1, 5)
    try:
        yield server, lambda: pool.exchange(REQUEST)
    finally:
        pool.close()
        server.close()


def test_a_request_has_what_http_needs() -> None:
    with script([[OK]]) as (server, send):
        assert send() == Answer(200, b"[]")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        first, *headers = head.split(b"\r\n")
        assert first == b"POST /messages/produce HTTP/1.1"
        assert set(headers) == {
            f"Host: {server.address}".encode(),
            b"Accept-Encoding: identity",
            b"Authorization: Bearer secret",
            b"Content-Type: application/json",
            b"Content-Length: 15",
        }
        assert body == b'{"message":"x"}'


WHOLE = {
    "in pieces": [OK[each : each + 1] for each in range(len(OK))],
    "in chunks": [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\n[\r\n",
        b"1;name=value\r\n]\r",
        b"\n0\r\nTrailer: x\r\n\r\n",
    ],
    "after a provisional answer": [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n" + OK],
    "without a reason": [b"HTTP/1.1 200\r\nContent-Length:2 \r\n\r\n[]"],
    "with many headers": [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"CONTENT-LENGTH: 2\r\n\r\n[]"],
    "a long one": [b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n[" + b" " * 1_000_000, b" " * 1_999_998 + b"]"],
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_read_to_its_end_and_the_connection_used_again(name: str) -> None:
    with script([WHOLE[name], [OK]]) as (server, send):
        first = send()
        assert isinstance(first, Answer), first
        assert (first.status, first.body.replace(b" ", b"")) == (200, b"[]")
        assert len(first.body) == (3_000_000 if name == "a long one" else 2)
        assert send() == Answer(200, b"[]")
        assert server.accepted == 1


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    with script([[b"HTTP/1.1 %d None\r\n\r\n" % status], [OK]]) as (server, send):
        assert send() == Answer(status, b"")
        assert send() == Answer(200, b"[]")
        assert server.accepted == 1


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        OK + b"what nobody asked for",
        OK,
    ],
    ids=["close", "an older version", "without a length", "more than the answer", "closed later"],
)
def test_after_the_last_answer_of_a_connection_comes_another_connection(last: bytes) -> None:
    with script([[last]], [[OK]]) as (server, send):
        assert send() == Answer(200, b"[]")
        server_has_closed(send)
        assert server.accepted == 2


def server_has_closed(send: Callable[[], Answer | NoAnswer]) -> None:
    """Send a second request. The server closes the connection after the first one, a little earlier or later."""
    for _ in range(2):
        found = send()
        if isinstance(found, Answer):
            assert found == Answer(200, b"[]")
            return
    raise AssertionError(found)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        OK[:-1],
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_an_answer_that_is_none_leaves_the_outcome_unknown(answer: bytes) -> None:
    with script([[answer]], [[OK]]) as (_, send):
        found = send()
        assert isinstance(found, NoAnswer)
        assert found.outcome_unknown
        assert "did not answer" in found.reason
        assert send() == Answer(200, b"[]")


def test_a_pool_that_nobody_closed_leaves_no_connection_open() -> None:
    server = Script([[[OK], [OK]]])
    pool = HttpPool(Endpoint.of(f"http://{server.address}", None), 1, 5)
    pool.exchange(REQUEST)
    del pool
    gc.collect()  # would warn of an open socket
    server.close()


@pytest.mark.parametrize("line", [("GET", "/a b"), ("GET", "/ä"), ("GET", "/\r\nX: y"), ("GET\r\n", "/"), ("GET", "a")])
def test_a_malformed_request_is_not_sent(line: tuple[str, str]) -> None:
    with script([[OK], [OK]]) as (server, send):
        send()
        pool = HttpPool(Endpoint.of(f"http://{server.address}", None), 1, 5)
        with pytest.raises(ValueError, match="percent-encode"):
            pool.exchange(Request.of(*line))
        pool.close()
        assert send() == Answer(200, b"[]")


def test_what_is_sent_over_a_connection_that_is_cut_just_now_stays_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def receive() -> bytes:
            accepted, _ = listener.accept()
            with certificate.serving().wrap_socket(accepted, server_side=True) as tls:
                return tls.recv(100)

        receiving = Call(receive)
        endpoint = Endpoint.of(f"https://localhost:{listener.getsockname()[1]}", None)
        connection = Connection(endpoint, PATIENCE_S, certificate.trusting())
        shut_down = socket.socket.shutdown

        def send_and_shut_down(each: socket.socket, how: int) -> None:
            each.sendall(b"secret")  # as its thread may do at this moment
            shut_down(each, how)

        monkeypatch.setattr(socket.socket, "shutdown", send_and_shut_down)
        cut = _Cut()
        cut.use(connection)
        cut.cut()
        assert receiving.result() == b"secret"
        connection.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_connects_only_to_whom_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=wonderq -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Script([[[OK]], [[OK], [OK]]], context)
    endpoint = Endpoint.of(f"https://{server.address}", None)

    stranger = HttpPool(endpoint, 1, 5)
    refused = stranger.exchange(REQUEST)
    stranger.close()
    assert isinstance(refused, NoAnswer)
    assert not refused.outcome_unknown
    assert "certificate" in refused.reason.lower()
    assert server.requests == []

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    known = HttpPool(endpoint, 1, 5)
    assert [known.exchange(REQUEST), known.exchange(REQUEST)] == [Answer(200, b"[]")] * 2
    known.close()
    server.close()
