"""Input on a socket is one request, which every proxy reads in the same way, or it is refused."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.http_client import JSON, ServedBroker, WireReply, check_error, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import Head
from wonderq.httpd.parser import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_TARGET_BYTES

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"PUT /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BODY = b'{"message":"x"}'
SMUGGLED = b"POST /queues/smuggled/messages/produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED += b"Content-Length: 15\r\n\r\n" + BODY


@pytest.fixture(scope="module")
def server() -> Iterator[ServedBroker]:
    broker = Broker(MemoryLog())
    with serving(broker) as served:
        yield served
    broker.close()


@pytest.fixture
def served(server: ServedBroker) -> Iterator[ServedBroker]:
    """A real server, to which nothing is smuggled, and which goes on serving. The tests of this module share it."""
    server.broker.purge("default")
    yield server
    assert [queue["queue"] for queue in server("GET", "/queues").json] == ["default"]
    assert server.server.active_channels.keys() <= {*server.server._map}


def produce(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = (b"POST /messages/produce HTTP/" + version, b"Host: x", b"Content-Type: application/json", *headers)
    return b"\r\n".join((*lines, b"", body))


def get(line: bytes = b"GET /healthz HTTP/1.1", *headers: bytes, host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join((line, *((host,) if host else ()), *headers, b"", b""))


def exchange(served: ServedBroker, data: bytes) -> list[WireReply]:
    """Send these bytes and return the answers to them."""
    return answers(exchange_bytes(served, data))


def exchange_bytes(served: ServedBroker, data: bytes) -> bytes:
    with served.connect() as connection:
        connection.sendall(data + LAST)
        return read_to_the_end(connection)


def read_all(connection: socket.socket) -> list[WireReply]:
    return answers(read_to_the_end(connection))


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    connection.settimeout(PATIENCE_S)
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    return received


def answers(received: bytes) -> list[WireReply]:
    replies = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        if status != "HTTP/1.1 405 Method Not Allowed":  # that is the answer to LAST
            replies.append(WireReply(int(status.split()[1]), headers, received[:length]))
        received = received[length:]
    return replies


def check_refused(served: ServedBroker, data: bytes, status: int = 400, code: str = "bad_request") -> str:
    """Check that a request is refused, that nothing after it is served, and that the connection is closed."""
    with served.connect() as connection:
        connection.sendall(data + SMUGGLED)
        [reply] = read_all(connection)  # to the end, though this side has not ended it
    error = check_refusal(reply, status, code)
    assert error[0].isupper()
    assert error.endswith(".")
    return error


def check_refusal(reply: WireReply, status: int, code: str) -> str:
    if status == 501:
        assert reply.json["error"]["code"] == code
    else:
        assert check_error(reply.status, reply.headers["content-type"], reply.content)["code"] == code
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    message: str = reply.json["error"]["message"]
    return message


class TestWhereABodyEnds:
    @pytest.mark.parametrize("length", [b"0", b"5", b"15"])
    def test_content_length_and_transfer_encoding_together_are_refused(
        self, served: ServedBroker, length: bytes
    ) -> None:
        chunks = b"f\r\n" + BODY + b"\r\n0\r\n\r\n"
        for headers in (
            (b"Content-Length: " + length, b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"Content-Length: " + length),
            (b"Transfer-Encoding: identity", b"Content-Length: " + length),
        ):
            assert "not both" in check_refused(served, produce(*headers, body=chunks))

    @pytest.mark.parametrize("second", [b"15", b"0", b"1500"])
    def test_two_content_lengths_are_refused_even_if_equal(self, served: ServedBroker, second: bytes) -> None:
        data = produce(b"Content-Length: 15", b"content-length: " + second, body=BODY)
        assert "only once" in check_refused(served, data)
        check_refused(served, produce(b"Content-Length: 15, " + second, body=BODY))

    @pytest.mark.parametrize(
        "length",
        [b"+5", b"-5", b"-0", b"0x5", b"5_0", b"5 0", b"5.0", b"5e0", b"\xa05", b"5\x85", b"\xb2", b'"5"', b"", b"5,"],
    )
    def test_a_content_length_that_is_not_plain_digits_is_refused(self, served: ServedBroker, length: bytes) -> None:
        assert "digits" in check_refused(served, produce(b"Content-Length: " + length, body=BODY))

    @pytest.mark.parametrize("length", [b"%d" % (MAX_BODY_BYTES + 1), b"9" * 30, b"1" * 5000, b"0" * 30])
    def test_a_huge_content_length_is_refused_before_the_body_comes(self, served: ServedBroker, length: bytes) -> None:
        check_refused(served, produce(b"Content-Length: " + length), 413, "body_too_large")

    def test_the_largest_content_length_is_read(self, served: ServedBroker) -> None:
        message = b'"%s"' % (b"\\n" * ((1 << 20) - 20))  # two bytes for each that counts
        body = b'{"messages":[%s' % b",".join([message] * 16)
        body += b" " * (MAX_BODY_BYTES - 2 - len(body)) + b"]}"
        assert len(body) == MAX_BODY_BYTES
        assert exchange(served, produce(b"Content-Length: %d" % len(body), body=body))[0].status == 201

    def test_spaces_around_a_content_length_are_no_part_of_it(self, served: ServedBroker) -> None:
        assert exchange(served, produce(b"Content-Length:  \t 15 \t", body=BODY))[0].status == 201

    @pytest.mark.parametrize(
        ("coding", "status", "code"),
        [
            (b"chunked, chunked", 400, "bad_request"),
            (b"chunked\r\nTransfer-Encoding: chunked", 400, "bad_request"),
            (b"\x0bchunked", 400, "bad_request"),
            (b"chunked\x00", 400, "bad_request"),
            (b"chunked\r\nTransfer-Encoding: identity", 501, "not_implemented"),
            (b"gzip, chunked", 501, "not_implemented"),
            (b"chunked, gzip", 501, "not_implemented"),
            (b"identity", 501, "not_implemented"),
            (b"xchunked", 501, "not_implemented"),
            (b"chunked;a=b", 501, "not_implemented"),
            (b'"chunked"', 501, "not_implemented"),
            (b"chunked\x85", 501, "not_implemented"),
            (b"chunked,", 501, "not_implemented"),
            (b"", 501, "not_implemented"),
        ],
    )
    def test_a_transfer_encoding_other_than_chunked_once_is_refused(
        self, served: ServedBroker, coding: bytes, status: int, code: str
    ) -> None:
        check_refused(served, produce(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"), status, code)

    def test_the_older_version_has_no_transfer_encoding(self, served: ServedBroker) -> None:
        for coding in (b"chunked", b"identity"):
            data = produce(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n", version=b"1.0")
            assert "HTTP/1.0" in check_refused(served, data)

    def test_a_name_with_an_underscore_is_not_the_one_with_a_dash(self, served: ServedBroker) -> None:
        data = produce(b"Content_Length: 99", b"Transfer_Encoding: chunked", b"Content-Length: 15", body=BODY)
        assert [reply.status for reply in exchange(served, data + GET)] == [201, 200]

    def test_a_content_encoding_is_refused(self, served: ServedBroker) -> None:
        for coding in (b"gzip", b"br", b"gzip, identity"):
            data = produce(b"Content-Encoding: " + coding, b"Content-Length: 15", body=BODY)
            check_refused(served, data, 415, "unsupported_content_encoding")


class TestChunks:
    @staticmethod
    def chunked(body: bytes) -> bytes:
        return produce(b"Transfer-Encoding: chunked", body=body)

    @pytest.mark.parametrize(
        "body",
        [
            b"f\r\n" + BODY + b"\r\n0\r\n\r\n",
            b"F;a\r\n" + BODY + b'\r\n000;b="c;d"\r\n\r\n',
            b"0000000f \t; a = b\r\n" + BODY + b"\r\n0\r\n\r\n",
            b"".join(b"1\r\n%c\r\n" % each for each in BODY) + b"0\r\n\r\n",
        ],
        ids=["one", "extensions", "spaces", "many"],
    )
    def test_are_read_however_they_arrive(self, served: ServedBroker, body: bytes) -> None:
        data = self.chunked(body)
        assert [reply.status for reply in exchange(served, data + GET)] == [201, 200]
        with served.connect() as connection:
            for each in range(len(data) - len(body), len(data) + 1, 3):
                connection.sendall(data[max(0, each - 3) if each > len(data) - len(body) else 0 : each])
                time.sleep(0.002)
            connection.sendall(data[each:] + GET + LAST)
            assert [reply.status for reply in read_all(connection)] == [201, 200]

    @pytest.mark.parametrize(
        "body",
        [
            b"zz\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1_0\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"\r\n",
            b";a\r\n",
            b"000000001\r\n",
            b"fffffffff\r\n",
            b"10000000000000000\r\n",
            b"\n1\r\n",
            b"1\nx\r\n",
            b"1\rx\r\n",
            b"1;a\nx\r\n0\r\n\r\n",
            b"1;a\rb\r\nx\r\n0\r\n\r\n",
            b"1;\x00\r\nx\r\n0\r\n\r\n",
            b"1;" + b"a" * 300 + b"\r\nx\r\n0\r\n\r\n",
            b"1;" + b"a" * 300,
            b"2\r\nxxyy\r\n0\r\n\r\n",
            b"2\r\nxx\n0\r\n\r\n",
            b"2\r\nxx\r0\r\n\r\n",
            b"2\r\nxx0\r\n\r\n",
            b"2\r\nx\r\n0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\n\rx",
        ],
    )
    def test_that_are_malformed_are_refused(self, served: ServedBroker, body: bytes) -> None:
        check_refused(served, self.chunked(body))

    @pytest.mark.parametrize("trailer", [b"X: y\r\n\r\n", b"Content-Length: 5\r\n\r\n", b"x", b"GET / HTTP/1.1\r\n"])
    def test_take_no_trailers(self, served: ServedBroker, trailer: bytes) -> None:
        data = self.chunked(b"f\r\n" + BODY + b"\r\n0\r\n" + trailer)
        assert "trailers" in check_refused(served, data)

    def test_that_would_be_too_much_are_refused_at_their_size(self, served: ServedBroker) -> None:
        for body in (b"ffffffff\r\n", b"%x\r\n" % (MAX_BODY_BYTES + 1), b"1\r\nx\r\n%x\r\n" % MAX_BODY_BYTES):
            check_refused(served, self.chunked(body), 413, "body_too_large")


class TestHost:
    def test_is_required(self, served: ServedBroker) -> None:
        assert "Host" in check_refused(served, get(host=b""))
        assert exchange(served, get(b"GET /healthz HTTP/1.0", host=b""))[0].status == 200

    def test_is_there_only_once(self, served: ServedBroker) -> None:
        for second in (b"Host: x", b"HOST: y"):
            assert "only once" in check_refused(served, get(b"GET /healthz HTTP/1.1", second))
            check_refused(served, get(b"GET /healthz HTTP/1.0", second))

    @pytest.mark.parametrize(
        "host",
        b"|x y|x,y|x/y|x?|x#|u@x|x:|x:y|x:123456|\xe9|[::1|::1|[x]|x\\y|<x>|x%00|x:80:80|http://x".split(b"|"),
    )
    def test_has_only_characters_of_a_host(self, served: ServedBroker, host: bytes) -> None:
        check_refused(served, get(host=b"Host: " + host))

    @pytest.mark.parametrize("host", [b"x", b"127.0.0.1:7979", b"[::1]:7979", b"a-b.example.", b"my_broker:80", b" x "])
    def test_is_a_name_or_an_address(self, served: ServedBroker, host: bytes) -> None:
        assert exchange(served, get(host=b"Host: " + host))[0].status == 200

    def test_is_that_of_an_absolute_target(self, served: ServedBroker) -> None:
        for line in (b"GET http://x/healthz HTTP/1.1", b"GET https://X/healthz HTTP/1.1"):
            assert exchange(served, get(line))[0].status == 200
        assert exchange(served, get(b"GET http://x/healthz HTTP/1.0", host=b""))[0].status == 200
        for authority in (b"y", b"x:80", b"u@x", b"x@y"):
            assert "same host" in check_refused(served, get(b"GET http://" + authority + b"/healthz HTTP/1.1"))
        check_refused(served, get(b"GET http://u@x/healthz HTTP/1.0", host=b""))


class TestTheRequestLine:
    @pytest.mark.parametrize(
        "line",
        [
            b"GET /healthz",
            b"GET /healthz HTTP/0.9",
            b"GET /healthz HTTP/1.2",
            b"GET /healthz HTTP/2.0",
            b"GET /healthz HTTP/2",
            b"GET /healthz HTTP/1.10",
            b"GET /healthz http/1.1",
            b"GET /healthz HTTP/1.1 ",
            b" GET /healthz HTTP/1.1",
            b"GET  /healthz HTTP/1.1",
            b"GET\t/healthz HTTP/1.1",
            b"GET /health z HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"get /healthz HTTP/1.1",
            b"Get /healthz HTTP/1.1",
            b"G@T /healthz HTTP/1.1",
            b"G3T /healthz HTTP/1.1",
            b"\xffGET /healthz HTTP/1.1",
            b"G" * 40 + b" /healthz HTTP/1.1",
            b"GET healthz HTTP/1.1",
            b"GET //healthz HTTP/1.1",
            b"GET //x/healthz HTTP/1.1",
            b"GET http:///healthz HTTP/1.1",
            b"GET http://x HTTP/1.1",
            b"GET ftp://x/healthz HTTP/1.1",
            b"GET /healthz#x HTTP/1.1",
            b"GET * HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"CONNECT x:80 HTTP/1.1",
            b"GET /caf\xc3\xa9 HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET /?\xff HTTP/1.1",
        ],
    )
    def test_that_is_not_one_is_refused(self, served: ServedBroker, line: bytes) -> None:
        check_refused(served, get(line))

    @pytest.mark.parametrize("character", [b"\x00", b"\r", b"\n", b"\x01", b"\x1f", b"\x7f", b"\t", b"\x0b", b"\x0c"])
    def test_with_a_control_character_is_refused(self, served: ServedBroker, character: bytes) -> None:
        check_refused(served, get(b"GET /messages/a" + character + b"b HTTP/1.1"))
        check_refused(served, get(b"GET /healthz?a=" + character + b" HTTP/1.1"))

    @pytest.mark.parametrize(
        "escape", [b"%00", b"%0d", b"%0A", b"%0d%0aX:%20y", b"%7f", b"%1b", b"%c2%85", b"%2f", b"%2F"]
    )
    def test_does_not_escape_what_no_path_has(self, served: ServedBroker, escape: bytes) -> None:
        check_refused(served, get(b"GET /messages/a" + escape + b" HTTP/1.1"))

    @pytest.mark.parametrize("escape", [b"%", b"%4", b"%zz", b"%4g", b"%%41", b"%u0041", b"%ff", b"%c3", b"%ed%a0%80"])
    def test_escapes_the_path_in_utf_8(self, served: ServedBroker, escape: bytes) -> None:
        check_refused(served, get(b"GET /messages/a" + escape + b" HTTP/1.1"))

    def test_may_escape_anything_else(self, served: ServedBroker) -> None:
        assert exchange(served, get(b"GET /%68ealth%7a HTTP/1.1"))[0].status == 200
        assert exchange(served, get(b"GET /caf%C3%A9 HTTP/1.1"))[0].status == 404

    def test_has_a_target_up_to_a_limit(self, served: ServedBroker) -> None:
        target = b"/queues?" + b"x" * (MAX_TARGET_BYTES - 8)
        [reply] = exchange(served, get(b"GET " + target + b" HTTP/1.1"))
        assert reply.json["error"]["code"] == "unknown_field"  # so it was read
        check_refused(served, get(b"GET " + target + b"x HTTP/1.1"), 414, "target_too_long")


class TestOtherProtocols:
    WEBSOCKET = (b"Upgrade: WebSocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13")

    def test_a_websocket_is_refused_and_gets_no_message(self, served: ServedBroker) -> None:
        served("POST", "/messages/produce", json={"message": "a"})
        [reply] = exchange(served, get(b"GET /messages/consume HTTP/1.1", *self.WEBSOCKET))
        assert (reply.status, reply.json["error"]["code"]) == (501, "not_implemented")
        assert "HTTP/1.1" in reply.json["error"]["message"]
        assert served("GET", "/dev/messages/count?status=unprocessed").json["count"] == 1

    def test_http_2_is_told_what_is_spoken_here(self, served: ServedBroker) -> None:
        [reply] = exchange(served, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert reply.status == 400
        assert "HTTP/1.1" in check_error(reply.status, reply.headers["content-type"], reply.content)["message"]

    def test_an_offer_of_http_2_is_answered_in_http_1(self, served: ServedBroker) -> None:
        """Java's client makes the offer with each request."""
        offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
        [reply] = exchange(served, get(b"GET /healthz HTTP/1.1", *offer))
        assert (reply.status, "upgrade" in reply.headers) == (200, False)

    @pytest.mark.parametrize(
        "data", [b"x\r\n\r\n", get(b"GET /nothing HTTP/1.1"), get(b"GET /queues HTTP/1.1", b"Upgrade: websocket")]
    )
    def test_a_refusal_ends_with_a_new_line(self, served: ServedBroker, data: bytes) -> None:
        [reply] = exchange(served, data)
        assert reply.content.endswith(b"}\n")


class TestHeaders:
    @pytest.mark.parametrize(
        "lines",
        [
            b"X: a\nY: b",
            b"X: a\rY: b",
            b"X: a\r\r\nY: b",
            b"X: a\n",
            b"\nX: a",
            b"X: a\r\n b",
            b"X: a\r\n\tb",
            b" X: a",
            b"X : a",
            b"X\t: a",
            b"X",
            b": a",
            b"X(: a",
            b"\xe9: a",
            b"X: a\x00b",
            b"X: a\x7fb",
            b"X\x00: a",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding:\n chunked",
        ],
    )
    def test_that_are_malformed_are_refused(self, served: ServedBroker, lines: bytes) -> None:
        check_refused(served, get(b"GET /healthz HTTP/1.1", lines))
        check_refused(
            served, get(b"GET /healthz HTTP/1.1", lines, host=b"").replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", 1)
        )

    def test_are_refused_when_a_bare_line_feed_comes_though_the_head_does_not_end(self, served: ServedBroker) -> None:
        for data in (
            b"GET /healthz HTTP/1.1\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\n\n",
            b"\n\nGET",
            b"\x16\x03\x01\x00\xa5",
        ):
            with served.connect() as connection:
                connection.sendall(data)
                [reply] = read_all(connection)
                check_refusal(reply, 400, "bad_request")

    def test_come_in_any_pieces(self, served: ServedBroker) -> None:
        with served.connect() as connection:
            for each in b"\r\n" + GET:
                connection.sendall(bytes([each]))
                time.sleep(0.001)
            connection.sendall(LAST)
            assert [reply.status for reply in read_all(connection)] == [200]

    def test_are_up_to_a_hundred(self, served: ServedBroker) -> None:
        most = [b"X: y"] * 99
        assert exchange(served, get(b"GET /healthz HTTP/1.1", *most))[0].status == 200
        data = get(b"GET /healthz HTTP/1.1", *most, b"X: y")
        assert "100" in check_refused(served, data, 431, "headers_too_large")

    def test_have_a_size_up_to_a_limit(self, served: ServedBroker) -> None:
        padding = b"X: " + b"y" * (MAX_HEAD_BYTES - len(GET) - 3)
        assert exchange(served, get(b"GET /healthz HTTP/1.1", padding))[0].status == 200
        check_refused(served, get(b"GET /healthz HTTP/1.1", padding + b"y" * 9), 431, "headers_too_large")

    @pytest.mark.parametrize("name", [b"Authorization", b"Content-Type", b"Origin", b"Sec-Fetch-Site", b"Expect"])
    def test_that_somebody_may_read_in_two_ways_come_only_once(self, served: ServedBroker, name: bytes) -> None:
        assert "only once" in check_refused(served, get(b"GET /healthz HTTP/1.1", name + b": a", name + b": b"))

    def test_expect_only_what_there_is(self, served: ServedBroker) -> None:
        check_refused(served, get(b"GET /healthz HTTP/1.1", b"Expect: 200-ok"), 417, "expectation_failed")

    def test_that_close_the_connection_may_be_a_list(self, served: ServedBroker) -> None:
        with served.connect() as connection:
            connection.sendall(get(b"GET /healthz HTTP/1.1", b"Connection: TE, Close") + SMUGGLED)
            assert [reply.status for reply in read_all(connection)] == [200]


class TestRequestsInARow:
    @pytest.mark.parametrize("path", [b"/queues", b"/queues?prefix=none", b"/dev/messages"])
    def test_a_short_list_leaves_the_connection_open(self, served: ServedBroker, path: bytes) -> None:
        replies = exchange(served, get(b"GET " + path + b" HTTP/1.1") + GET)
        assert [reply.status for reply in replies] == [200, 200]
        assert replies[0].content.endswith(b"]\n")

    def test_are_answered_in_order(self, served: ServedBroker) -> None:
        data, expected = b"", []
        for number in range(30):
            body = json.dumps({"message": f"m{number}", "delay": 1000}).encode()
            if number % 3:
                data += produce(b"Content-Length: %d" % len(body), body=body)
            else:
                data += produce(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            data += b"\r\n" if number % 5 == 0 else b""
            expected.append(f"m{number}")
        assert [reply.json["message"] for reply in exchange(served, data)] == expected

    @pytest.mark.parametrize(
        "bad",
        [
            get(host=b""),
            get(b"GET //x HTTP/1.1"),
            produce(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
            produce(b"Content-Length: 99999999"),
            produce(b"Transfer-Encoding: chunked", body=b"x\r\n"),
        ],
    )
    def test_end_with_the_first_that_is_refused(self, served: ServedBroker, bad: bytes) -> None:
        with served.connect() as connection:
            connection.sendall(GET + GET + bad + SMUGGLED + GET)
            replies = read_all(connection)
        assert [reply.status for reply in replies[:2]] == [200, 200]
        assert [reply.status // 100 for reply in replies[2:]] == [4]

    def test_end_so_too_while_one_before_is_waiting(self, served: ServedBroker) -> None:
        wait = get(b"GET /messages/consume?wait=20 HTTP/1.1")
        with served.connect() as connection:
            connection.sendall(wait)
            served.wait_for_waiting(1)
            connection.sendall(get(host=b"") + SMUGGLED)
            served.broker.produce("default", ["awaited"])
            assert [reply.status for reply in read_all(connection)] == [200, 400]

    def test_what_was_refused_is_told_though_the_client_goes_on_sending(self, served: ServedBroker) -> None:
        """Closing a socket with unread input would discard the answer."""
        with served.connect() as connection:
            connection.sendall(produce(b"Content-Length: 99999999"))
            for _ in range(10):
                connection.sendall(b"x" * 10_000)
                time.sleep(0.01)
            [reply] = read_all(connection)
            check_refusal(reply, 413, "body_too_large")


def only_with_a_key(head: Head) -> RequestError | None:
    assert head.address == "127.0.0.1"
    if head.headers.get("AUTHORIZATION") == "Bearer key" or (head.method, head.path) == ("GET", "/healthz"):
        return None
    return RequestError(401, "no_key", "Send a key.", headers={"WWW-Authenticate": "Bearer"})


class TestChecksOfTheHead:
    @pytest.fixture
    def checked(self, broker: Broker) -> Iterator[ServedBroker]:
        with serving(broker, check_head=only_with_a_key) as served:
            yield served

    @pytest.mark.parametrize("expect", [(), (b"Expect: 100-continue",)])
    @pytest.mark.parametrize("body", [b"Content-Length: 15", b"Transfer-Encoding: chunked"])
    def test_refuse_before_the_body_is_sent(
        self, checked: ServedBroker, expect: tuple[bytes, ...], body: bytes
    ) -> None:
        with checked.connect() as connection:
            connection.sendall(produce(body, *expect))
            [reply] = read_all(connection)
        check_refusal(reply, 401, "no_key")
        assert reply.headers["www-authenticate"] == "bearer"

    def test_let_others_send_it(self, checked: ServedBroker) -> None:
        with checked.connect() as connection:
            connection.sendall(produce(b"Content-Length: 15", b"Expect: 100-continue", b"Authorization: Bearer key"))
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(BODY + LAST)
            assert [reply.status for reply in read_all(connection)] == [201, 401]

    def test_see_the_path_that_the_application_sees(self, checked: ServedBroker) -> None:
        assert exchange(checked, get(b"GET /%68ealthz HTTP/1.1"))[0].status == 200
        assert exchange(checked, get(b"GET /healthz/ HTTP/1.1"))[0].status == 401

    def test_one_that_is_refused_ends_the_connection(self, checked: ServedBroker) -> None:
        with checked.connect() as connection:
            connection.sendall(GET + produce(b"Content-Length: 15", body=BODY) + GET)
            assert [reply.status for reply in read_all(connection)] == [200, 401]


def test_nothing_is_asked_for_when_there_is_no_body(served: ServedBroker) -> None:
    data = get(b"GET /healthz HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 0")
    assert [reply.status for reply in exchange(served, data)] == [200]


class TestEveryAnswer:
    ASKED = (
        GET,
        produce(b"Content-Length: 15", body=BODY),
        produce(b"Content-Length: 1", body=b"x"),
        get(b"GET /dev/messages HTTP/1.1"),
        get(b"GET /messages/consume HTTP/1.1"),
        get(b"GET /nowhere HTTP/1.1"),
        get(b"GET /healthz HTTP/1.0"),
        get(b"OPTIONS /messages/produce HTTP/1.1", b"Origin: http://x", b"Access-Control-Request-Method: POST"),
        get(b"GET /healthz HTTP/1.1", b"Origin: http://evil.example"),
        get(b"garbage"),
    )

    @pytest.mark.parametrize("data", ASKED)
    def test_keeps_browsers_from_making_more_of_it(self, served: ServedBroker, data: bytes) -> None:
        head = exchange_bytes(served, data).partition(b"\r\n\r\n")[0]
        for line in (
            b"X-Content-Type-Options: nosniff",
            b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
            b"Referrer-Policy: no-referrer",
            b"Cache-Control: no-store",
        ):
            assert head.count(b"\r\n" + line) == 1, head
        assert b"access-control-" not in head.lower()
        assert JSON.encode() in head or head.startswith(b"HTTP/1.1 200 OK\r\nAllow: ")
