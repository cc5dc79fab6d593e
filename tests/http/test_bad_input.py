"""Any invalid input gets a 4xx of the common form, has no partial effect, and leaves the broker running."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import falcon.inspect
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http_client import (
    JSON,
    MSGPACK,
    SQS_ROUTES,
    UI_ROUTES,
    Client,
    ServedBroker,
    WireReply,
    check_error,
    check_refused,
    encode,
    read_reply,
    request,
    serving,
)
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq_storage import FileLog

MIB = 1 << 20
LEVELS = 100_000
DEEP_ARRAY = b"[" * LEVELS + b"]" * LEVELS
DEEP_OBJECT = b'{"a":' * LEVELS + b"1" + b"}" * LEVELS


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    broker = Broker(MemoryLog())
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def application(broker: Broker) -> Client:
    return Client(broker)


@pytest.fixture
def client(application: Client) -> Client:
    """The application that the tests of this module share; each finds it with an empty default queue and no other."""
    for queue in application.get("/queues"):
        application("DELETE", f"/queues/{queue['queue']}")
    application.broker.purge("default")
    return application


@pytest.fixture
def message_id(client: Client) -> Iterator[str]:
    """A message under whose nose the bad requests are made. It must be as it was afterwards, and all must work."""
    [message_id] = client.produce("here before")
    before = client.get(f"/messages/{message_id}")
    yield message_id
    assert client.get("/dev/messages") == [before]
    assert [each["queue"] for each in client.get("/queues")] == ["default"]
    [added] = client.produce("afterwards")
    assert [each["id"] for each in client.get("/messages/consume")] == [message_id, added]
    for each in (message_id, added):
        assert client("DELETE", f"/messages/{each}").status_code == 200


def refuse(client: Client, method: str, target: str, body: bytes | None, media_type: str | None = JSON) -> Any:
    reply = client(method, target, body=body, media_type=media_type)
    return check_error(reply.status_code, reply.headers.get("content-type"), reply.content)


#: Every call that takes a body, and one that it would accept for the message with the id ID.
BODIES: dict[str, tuple[str, str, bytes]] = {
    "produce": ("POST", "/messages/produce", b'{"message":"x","delay":1}'),
    "produce batch": ("POST", "/messages/produce", b'{"messages":["x",{"message":"y","delay":1}],"delay":1}'),
    "produce elsewhere": ("POST", "/queues/new/messages/produce", b'{"message":"x","delay":1}'),
    "consume": ("POST", "/messages/consume", b'{"max":1,"wait":0,"visibility_timeout":1}'),
    "delete": ("DELETE", "/messages/ID", b'{"receipt":"R"}'),
    "update": ("UPDATE", "/messages/ID", b'{"message":"y","delay":1}'),
    "put": ("PUT", "/messages/ID", b'{"visibility_timeout":1}'),
    "patch": ("PATCH", "/messages/ID", b'{"receipt":"R"}'),
    "delete batch": ("POST", "/messages/delete", b'{"ids":["ID"]}'),
    "delete batch by receipt": ("POST", "/messages/delete", b'{"receipts":["R"]}'),
    "update batch": ("POST", "/messages/update", b'{"entries":[{"id":"ID","delay":1,"message":"x"}]}'),
    "put queue": ("PUT", "/queues/new", b'{"visibility_timeout":1,"delay":1}'),
}

MALFORMED_JSON: dict[str, bytes] = {
    "garbage": b"\x00\x01\x02",
    "a NUL": b"\x00",
    "a space": b" ",
    "invalid UTF-8": b"\xff\xfe{}",
    "UTF-16": '{"message":"x"}'.encode("utf-16"),
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "a form": b"message=x&delay=1",
    "single quotes": b"{'message':'x'}",
    "cut short": b'{"message":"x',
    "only a brace": b"{",
    "a million braces": b"{" * MIB,
    "deep arrays": DEEP_ARRAY,
    "deep arrays, cut short": b"[" * LEVELS,
    "deep objects": DEEP_OBJECT,
    "deep objects, cut short": b'{"a":' * LEVELS,
    "NaN": b"NaN",
    "an unknown key that is a surrogate": b'{"\\ud800":1}',
    "an unknown key that is not UTF-8": b'{"\xff":1}',
    "an unknown key that is empty": b'{"":1}',
    "an unknown key that is long": b'{"' + b"k" * MIB + b'":1}',
    "an unknown key with a NUL": b'{"\\u0000":1}',
}

#: Right for no field.
WRONG_VALUES = [
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"9" * 10_000,
    b"1." + b"9" * 10_000 + b"e999999999",
    b"-1",
    b'{"x":1}',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud800x\\udc00"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\xc0\x80"',
    b'"\\x"',
    b'"a\nb"',
    b'"a\0b"',
    DEEP_ARRAY,
    DEEP_OBJECT,
    b"[[]]",
    b"[null]",
    b"[1]",
    b"[]",
]


@pytest.mark.parametrize("call", BODIES)
class TestEveryBody:
    def test_that_is_malformed(self, client: Client, message_id: str, call: str) -> None:
        method, target, _ = BODIES[call]
        for name, body in MALFORMED_JSON.items():
            error = refuse(client, method, target.replace("ID", message_id), body)
            assert error["code"] in ("malformed_body", "invalid_value", "unknown_field", "body_too_large"), name

    def test_with_something_around_it(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        good = good.replace(b"ID", message_id.encode())
        for body in (
            b"\xef\xbb\xbf" + good,
            good + b" x",
            good + b"\0",
            good + good,
            good + b",",
            b"[" + good + b"]",
            good[:-1],
            good[:-1] + b",}",
            b"/**/" + good,
        ):
            assert refuse(client, method, target.replace("ID", message_id), body)["code"] in (
                "malformed_body",
                "invalid_value",
            )

    def test_with_a_wrong_value_in_any_place(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        plain = json.loads(good.replace(b"ID", message_id.encode()))
        for hole in _holes(plain):
            for value in WRONG_VALUES:
                body = encode(hole).replace(b'"HOLE"', value)
                error = refuse(client, method, target.replace("ID", message_id), body)
                assert error["code"] in ("malformed_body", "invalid_value", "unknown_field", "body_too_large"), body[
                    :200
                ]

    def test_with_an_unknown_field(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        plain = json.loads(good.replace(b"ID", message_id.encode()))
        for name in ("nope", "Message", "mes sage", "naïve", "a`b", "", "\n"):
            reply = client(method, target.replace("ID", message_id), json={**plain, name: 1})
            check_refused(reply, 400, "unknown_field", name)

    def test_of_another_type(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        good = good.replace(b"ID", message_id.encode())
        for media_type in (
            None,
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonx",
            "application/json, application/json",
            "json",
            "\xff",
            "/",
        ):
            reply = client(method, target.replace("ID", message_id), body=good, media_type=media_type)
            check_refused(reply, 415, "unsupported_media_type")

    def test_with_the_fields_in_the_query_as_well(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        target, good = target.replace("ID", message_id), good.replace(b"ID", message_id.encode())
        for query in ("delay=5", "nope=1", "receipt=x", "message=y"):
            reply = client(method, f"{target}?{query}", body=good)
            check_refused(reply, 400, "ambiguous_request")

    def test_in_msgpack_that_is_malformed(self, client: Client, message_id: str, call: str) -> None:
        method, target, good = BODIES[call]
        packed = msgspec.msgpack.encode(json.loads(good.replace(b"ID", message_id.encode())))
        bodies = [packed[:end] for end in range(1, len(packed))]
        bodies += [packed + b"\0", packed + packed, good, *MALFORMED_MSGPACK]
        for body in bodies:
            error = refuse(client, method, target.replace("ID", message_id), body, MSGPACK)
            assert error["code"] in ("malformed_body", "invalid_value", "unknown_field", "body_too_large"), body[:100]


MALFORMED_MSGPACK = [
    b"\xc1",  # never used
    b"\x81",
    b"\x81\xa7message",
    b"\x91" * LEVELS + b"\xc0",
    b"\x81\xa7message" + b"\x91" * LEVELS + b"\xc0",
    b"\x81\xa1x" + b"\x91" * LEVELS + b"\xc0",
    b"\x81\xa1x" * LEVELS + b"\xc0",
    b"\xdf\xff\xff\xff\xff",  # four thousand million entries, declared
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xffabc",
    b"\xc6\xff\xff\xff\xffabc",
    b"\xc9\xff\xff\xff\xff\x01abc",
    b"\x81\xa7message\xdb\xff\xff\xff\xffabc",
    b"\x81\xa8messages\xdd\xff\xff\xff\xff\xa1a",
    b"\xd4\x01\x00",  # extension types
    b"\x81\xa7message\xd4\x01\x00",
    b"\x81\xa7message\xd7\xff" + b"\0" * 8,
    b"\x81\xa7message\xc7\x0c\xff" + b"\xff" * 12,
    b"\x81\xa7message\xa1\xff",  # not UTF-8
    b"\x81\xa7message\xa3\xed\xa0\x80",
    b"\x81\xa7message\xc4\x01a",  # bytes are not text
    b"\x81\xa5delay\xcb\x7f\xf8\0\0\0\0\0\0",  # NaN
    b"\x81\xa5delay\xcb\x7f\xf0\0\0\0\0\0\0",
    b"\x81\xa5delay\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\x01\x02",  # keys that are not text
    b"\x81\xc0\x02",
    b"\x81\x91\x01\x02",
    b"\x81\xa1\xff\x01",
    b"\x81\xc4\x07message\xa1a",
]


def _holes(value: Any) -> Iterator[Any]:
    """Give the value once for each field and element in it, with the string HOLE in that one's place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for hole in ("HOLE", *_holes(inner)):
            if hole == "HOLE" and key in ("messages", "ids", "receipts", "entries"):
                continue  # where a list is right, some of the values are
            copy: Any = value.copy()
            copy[key] = hole
            yield copy


class TestProduce:
    def test_without_a_body(self, client: Client, message_id: str) -> None:
        check_refused(client("POST", "/messages/produce"), 400, "empty_body")
        check_refused(client("POST", "/messages/produce", body=b""), 400, "empty_body")
        check_refused(client("POST", "/messages/produce", body=b"{}"), 400, "missing_field", "message")
        check_refused(client("POST", "/messages/delete"), 400, "empty_body")
        check_refused(client("POST", "/messages/update"), 400, "empty_body")

    def test_a_long_media_type_is_not_repeated_in_full(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", body=b"{}", media_type="n" * 10_000)
        check_refused(reply, 415, "unsupported_media_type")
        assert len(reply.content) < 1000

    def test_a_long_field_name_is_not_repeated_in_full(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", json={"message": "x", "n" * 1_000_000: 1})
        check_refused(reply, 400, "unknown_field", "n" * 100)
        assert len(reply.content) < 1000

    @pytest.mark.parametrize(
        ("body", "code", "name"),
        [
            (b'{"message":null}', "invalid_value", "message"),
            (b'{"message":["x"]}', "invalid_value", "message"),
            (b'{"message":"x","messages":["x"]}', "ambiguous_request", "messages"),
            (b'{"messages":"x"}', "invalid_value", "messages"),
            (b'{"messages":[]}', "invalid_value", "messages"),
            (b'{"messages":["x",1]}', "invalid_value", "messages[1]"),
            (b'{"messages":["x",{}]}', "missing_field", "messages[1].message"),
            (b'{"messages":[{"message":"x","nope":1}]}', "unknown_field", "messages[0].nope"),
            (b'{"messages":[{"message":"x","a`b":1}]}', "unknown_field", "messages[0].a`b"),
            (b'{"messages":[{"message":"x","delay":"1"}]}', "invalid_value", "messages[0].delay"),
            (b'{"message":"x","delay":316224000.1}', "invalid_value", "delay"),
            (b'{"message":"x","message":1}', "invalid_value", "message"),
        ],
    )
    def test_names_the_field(self, client: Client, message_id: str, body: bytes, code: str, name: str) -> None:
        check_refused(client("POST", "/messages/produce", body=body), 400, code, name)

    def test_of_a_key_given_twice_the_last_counts(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", body=b'{"message":"a","delay":9,"message":"b","delay":0}')
        assert (reply.status_code, reply.json["message"]) == (201, "b")
        assert [each["message"] for each in client.get("/messages/consume")] == ["b"]

    @pytest.mark.parametrize("character", ["x", "é", "🦊", "\0", "\\"])
    @pytest.mark.parametrize("media_type", [JSON, MSGPACK])
    def test_the_largest_message(self, client: Client, message_id: str, character: str, media_type: str) -> None:
        packing = json.dumps if media_type == JSON else msgspec.msgpack.encode
        largest = character * (MIB // len(character.encode()))
        for message in (largest + "x", largest + character):
            reply = client("POST", "/messages/produce", body=packing({"message": message}), media_type=media_type)
            check_refused(reply, 413, "message_too_large")
        reply = client("POST", "/messages/produce", body=packing({"message": largest}), media_type=media_type)
        assert reply.status_code == 201
        assert client.get("/messages/" + reply.json["id"])["message"] == largest
        client("DELETE", "/messages/" + reply.json["id"])

    def test_more_messages_than_a_batch_may_have(self, client: Client, message_id: str) -> None:
        reply = client("POST", "/messages/produce", json={"messages": ["x"] * 1001})
        check_refused(reply, 413, "batch_too_large")
        reply = client("POST", "/messages/produce", json={"messages": ["x"] * 100_000})
        check_refused(reply, 413, "batch_too_large")
        reply = client("POST", "/messages/produce", json={"messages": ["x"] * 1_000_000})
        check_refused(reply, 413, "body_too_large")

    def test_more_bytes_than_a_batch_may_have(self, client: Client, message_id: str) -> None:
        reply = client("POST", "/messages/produce", json={"messages": ["x" * MIB] * 17})
        check_refused(reply, 413, "batch_too_large")
        ids = client.produce(*["x" * MIB] * 16)
        assert client("POST", "/messages/delete", json={"ids": ids}).json["success"] is True

    def test_more_bytes_than_an_update_may_have(self, client: Client) -> None:
        ids = client.produce(*["x"] * 17)
        entries = [{"id": each, "message": "y" * MIB} for each in ids]
        check_refused(client("POST", "/messages/update", json={"entries": entries}), 413, "batch_too_large")
        assert {each["message"] for each in client.get("/dev/messages")} == {"x"}


BAD_IDS = [
    "x",
    "0",
    "-1",
    "null",
    "%00",
    "%0d%0aSet-Cookie:x",
    "%0a",
    "%20",
    "%ff",
    "%ed%a0%80",
    "%F0%9F%A6%8A",
    "%",
    "%zz",
    "%2e%2e",
    "..",
    "'%20OR%201=1",
    "00000000-0000-8000-8000-000000000000",
    "ffffffff-ffff-8fff-bfff-ffffffffffff",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "{00000000-0000-8000-8000-000000000000}",
    "0" * 32,
    "%D9%A3" * 8 + "-0000-8000-8000-000000000000",  # digits, but not ours
    "a" * 100_000,
]


@pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: bad[:40])
class TestIds:
    def test_in_the_path(self, client: Client, message_id: str, bad: str) -> None:
        for method in ("GET", "DELETE", "UPDATE", "PUT", "PATCH"):
            check_refused(client(method, f"/messages/{bad}"), 404, "message_not_found")
            check_refused(client(method, f"/queues/default/messages/{bad}"), 404, "message_not_found")

    def test_in_a_batch(self, client: Client, message_id: str, bad: str) -> None:
        [result] = client("POST", "/messages/delete", json={"ids": [bad]}).json["results"]
        assert (result["id"], result["error"]["code"]) == (bad, "message_not_found")
        [result] = client("POST", "/messages/update", json={"entries": [{"id": bad}]}).json["results"]
        assert (result["id"], result["error"]["code"]) == (bad, "message_not_found")

    def test_as_receipts(self, client: Client, message_id: str, bad: str) -> None:
        for method in ("DELETE", "UPDATE"):
            reply = client(method, f"/messages/{message_id}", json={"receipt": bad})
            check_refused(reply, 400, "invalid_value", "receipt")
        [result] = client("POST", "/messages/delete", json={"receipts": [bad]}).json["results"]
        assert (result["receipt"], result["error"]["code"]) == (bad, "invalid_value")

    def test_to_page_after(self, client: Client, message_id: str, bad: str) -> None:
        check_refused(client("GET", f"/dev/messages?after={quote(bad)}"), 400, "invalid_value", "after")


def test_paths_do_not_wander(client: Client, message_id: str) -> None:
    for path in ("/messages/../queues", "/messages/a%2fb", "/messages/..%2f..%2fetc%2fpasswd", "/../../etc/passwd"):
        check_refused(client("DELETE", path), 404, "path_not_found")


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a%20b",
        "a.b",
        ".fifo",
        "a.fifo.fifo",
        "a.fif",
        "a.FIFO",
        "a" * 81,
        "a" * 76 + ".fifo",
        "a" * 100_000,
        "%00",
        "a%00",
        "a%0a",
        "%0d%0a",
        "%ff",
        "%ed%a0%80",
        "%C3%A9",
        "%D9%A3",
        "..",
        "%2e%2e",
        "~",
        "%",
    ],
    ids=lambda name: name[:40],
)
def test_queue_names(client: Client, message_id: str, name: str) -> None:
    check_refused(client("PUT", f"/queues/{name}"), 400, "invalid_queue_name", "queue")
    reply = client("POST", f"/queues/{name}/messages/produce", json={"message": "x"})
    check_refused(reply, 400, "invalid_queue_name", "queue")
    for method, rest in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/purge"),
        ("GET", "/messages/consume"),
        ("DELETE", "/messages/x"),
        ("GET", "/dev/messages"),
        ("GET", "/dev/messages/status?status=processing"),
        ("GET", "/dev/messages/count?status=processing"),
    ]:
        check_refused(client(method, f"/queues/{name}{rest}"), 404, "queue_not_found")


class TestQueries:
    def test_a_long_name_given_twice_is_not_repeated_in_full(self, client: Client) -> None:
        name = "n" * 3000
        reply = client("GET", f"/messages/consume?{name}=1&{name}=2")
        check_refused(reply, 400, "invalid_value", "n" * 100)
        assert len(reply.content) < 1000

    def test_unknown_or_given_twice(self, client: Client, message_id: str) -> None:
        for method, target in [
            ("GET", "/messages/consume?"),
            ("POST", "/messages/consume?"),
            ("GET", "/messages/ID?"),
            ("DELETE", "/messages/ID?"),
            ("UPDATE", "/messages/ID?"),
            ("GET", "/dev/messages?"),
            ("GET", "/dev/messages/status?status=processing&"),
            ("GET", "/dev/messages/count?status=processing&"),
            ("GET", "/queues?"),
            ("GET", "/queues/default?"),
            ("PUT", "/queues/new?"),
            ("DELETE", "/queues/default?"),
            ("POST", "/queues/default/purge?"),
        ]:
            target = target.replace("ID", message_id)
            for query, name in [("nope=1", "nope"), ("MAX=1", "MAX"), ("max[]=1", "max[]"), ("a%00=1", "a\0")]:
                check_refused(client(method, target + query), 400, "unknown_field", name)
            check_refused(client(method, f"{target}max=1&max=1"), 400, "invalid_value", "max")
        check_refused(client("DELETE", f"/messages/{message_id}?receipt=a&receipt=b"), 400, "invalid_value", "receipt")
        check_refused(client("GET", "/dev/messages?limit=1&limit=1"), 400, "invalid_value", "limit")

    @pytest.mark.parametrize("limit", [1 << 63, 10**30])
    @pytest.mark.parametrize(
        "target",
        [
            *("/queues?", "/queues?contains=d&", "/queues?sort=bytes&", "/queues?dead_letters=true&"),
            *("/dev/messages?", "/dev/messages?contains=a&", "/dev/messages/status?status=unprocessed&"),
        ],
    )
    def test_a_limit_above_all_there_is_is_no_limit(self, client: Client, target: str, limit: int) -> None:
        reply, whole = client("GET", f"{target}limit={limit}"), client("GET", target.rstrip("&?"))
        assert (reply.status_code, reply.json) == (200, whole.json)

    @pytest.mark.parametrize(
        "value",
        ["", "x", "%00", "%ff", "1_0", "0x1", "%2B1", "1,2", "٣", "null", "true", "nan", "-inf", "1e999", "9" * 5000],
    )
    def test_numbers_that_are_none(self, client: Client, message_id: str, value: str) -> None:
        for target, name in [
            ("/messages/consume?", "max"),
            ("/messages/consume?", "wait"),
            ("/messages/consume?", "visibility_timeout"),
        ]:
            check_refused(client("GET", f"{target}{name}={value}"), 400, "invalid_value", name)

    def test_very_many(self, client: Client, message_id: str) -> None:
        query = "&".join(f"a{number}=1" for number in range(10_000))
        check_refused(client("GET", f"/messages/consume?{query}"), 400, "unknown_field", "a0")


class TestPathsAndMethods:
    @pytest.mark.parametrize(
        "path",
        [
            "/docs/",
            "/nope",
            "/messages",
            "/messages/produce/",
            "/messages/a/b",
            "/queues/a/b",
            "/queues/a/messages",
            "/dev",
            "/dev/messages/",
            "/dev/messages/x",
            "/favicon.ico",
            "/%00",
            "/" + "a/" * 1000,
        ],
        ids=lambda path: path[:20],
    )
    def test_unknown_paths(self, client: Client, message_id: str, path: str) -> None:
        for method in ("GET", "POST", "UPDATE", "OPTIONS", "BREW"):
            check_refused(client(method, path), 404, "path_not_found")

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("/messages/produce", {"POST"}),
            ("/messages/consume", {"GET", "POST"}),
            ("/messages/delete", {"POST"}),
            ("/messages/update", {"POST"}),
            ("/messages/x", {"GET", "DELETE", "UPDATE", "PUT", "PATCH"}),
            ("/queues/default/messages/x", {"GET", "DELETE", "UPDATE", "PUT", "PATCH"}),
            ("/dev/messages", {"GET"}),
            ("/dev/messages/status", {"GET"}),
            ("/dev/messages/count", {"GET"}),
            ("/queues", {"GET"}),
            ("/queues/default", {"GET", "PUT", "DELETE"}),
            ("/queues/default/purge", {"POST"}),
            ("/healthz", {"GET", "HEAD"}),
            ("/readyz", {"GET", "HEAD"}),
        ],
    )
    def test_methods_that_a_path_does_not_take(
        self, client: Client, message_id: str, path: str, allowed: set[str]
    ) -> None:
        known = {"GET", "POST", "PUT", "PATCH", "DELETE", "UPDATE", "TRACE", "PROPFIND", "LOCK", "CONNECT"}
        for method in known - allowed:
            reply = client(method, path)
            check_refused(reply, 405, "method_not_allowed")
            assert set(reply.headers["allow"].split(", ")) == allowed | {"OPTIONS"}
        reply = client("HEAD", path)
        assert (reply.status_code, reply.content) == (200 if "HEAD" in allowed else 405, b"")
        assert ("allow" in reply.headers) == ("HEAD" not in allowed)
        options = client("OPTIONS", path)
        assert (options.status_code, options.content) == (200, b"")
        assert set(options.headers["allow"].split(", ")) == allowed

    @pytest.mark.parametrize("method", ["BREW", "get", "GETX", "X-Y"])
    def test_methods_that_do_not_exist(self, client: Client, message_id: str, method: str) -> None:
        for path in ("/messages/produce", "/messages/x", "/healthz", "/queues/default"):
            check_refused(client(method, path), 400, "bad_request")


def test_a_bug_is_answered_in_the_same_shape_and_logged(
    broker: Broker, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr(broker, "count", fail)
    reply = client("GET", "/dev/messages/count?status=processing")
    assert (reply.status_code, reply.json["success"], reply.json["statusCode"]) == (500, False, 500)
    assert reply.json["error"]["code"] == "internal_error"
    assert "for the test" not in reply.text
    assert "for the test" in caplog.text


# Over the wire


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    broker = Broker(FileLog(tmp_path_factory.mktemp("served") / "log"))
    with serving(broker) as served:
        yield served
    broker.close()


@pytest.fixture
def wire(served: ServedBroker) -> Iterator[ServedBroker]:
    """A real server, which must have taken nothing from the bad requests and go on serving."""
    yield served
    assert served("GET", "/dev/messages").json == []
    assert served("GET", "/queues").json[0]["queue"] == "default"
    made = served("POST", "/messages/produce", json={"message": "afterwards"})
    assert made.status == 201
    assert served("DELETE", "/messages/" + made.json["id"]).status == 200


def check_wire_error(reply: WireReply, status: int, code: str | None = None) -> None:
    error = check_error(reply.status, reply.headers.get("content-type"), reply.content)
    assert reply.status == status, error
    assert code is None or error["code"] == code


def produce_head(*headers: str) -> bytes:
    lines = ["POST /messages/produce HTTP/1.1", "Host: x", f"Content-Type: {JSON}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


BODY = b'{"message":"x"}'


class TestWire:
    @pytest.mark.parametrize("length", [100_000_000, 1 << 40, 10**30])
    def test_a_huge_content_length_is_refused_before_the_body(self, wire: ServedBroker, length: int) -> None:
        check_wire_error(wire.send(produce_head(f"Content-Length: {length}")), 413, "body_too_large")

    def test_a_body_too_large_for_any_batch(self, wire: ServedBroker) -> None:
        with wire.connect() as connection:
            connection.sendall(produce_head("Transfer-Encoding: chunked"))
            chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
            try:
                for _ in range(40):
                    connection.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it closed, as it may, once it had seen enough; the answer may be lost then
            else:
                pytest.fail("the server read all of it")

    @pytest.mark.parametrize(
        "length", ["x", "-1", "1.5", "0x10", "+15", "1 5", "15, 15", "", "٣".encode().decode("latin-1")]
    )
    def test_a_content_length_that_is_none(self, wire: ServedBroker, length: str) -> None:
        check_wire_error(wire.send(produce_head(f"Content-Length: {length}") + BODY), 400)

    def test_two_content_lengths(self, wire: ServedBroker) -> None:
        check_wire_error(wire.send(produce_head("Content-Length: 15", "Content-Length: 3") + BODY), 400)

    def test_a_missing_content_length(self, wire: ServedBroker) -> None:
        check_wire_error(wire.send(produce_head("Connection: close") + BODY), 400, "empty_body")

    def test_a_chunked_body(self, wire: ServedBroker) -> None:
        chunks = b"5\r\n" + BODY[:5] + b"\r\na;extension=1\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
        reply = wire.send(produce_head("Transfer-Encoding: chunked") + chunks)
        assert reply.status == 201
        assert wire("DELETE", "/messages/" + reply.json["id"]).status == 200
        reply = wire.send(
            f"POST /messages/consume HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n".encode()
            + b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"max":0}\r\n0\r\n\r\n'
        )
        check_wire_error(reply, 400, "invalid_value")  # so it was read, though it had no length

    @pytest.mark.parametrize(
        "chunks", [b"zz\r\nxx\r\n", b"-1\r\n\r\n", b"2\r\nxxyy\r\n0\r\n\r\n", b"1_0\r\n" + b"x" * 16]
    )
    def test_a_chunked_body_that_is_broken(self, wire: ServedBroker, chunks: bytes) -> None:
        check_wire_error(wire.send(produce_head("Transfer-Encoding: chunked") + chunks), 400)

    def test_an_unknown_transfer_encoding(self, wire: ServedBroker) -> None:
        reply = wire.send(produce_head("Transfer-Encoding: gzip") + BODY)
        assert (reply.status, reply.json["error"]["code"]) == (501, "not_implemented")

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
            b"x" * 300_000,
            b"GET /healthz HTTP/1.1\r\n" + b"X: x\r\n" * 60_000 + b"\r\n",
        ],
        ids=["one", "path", "no line", "many"],
    )
    def test_headers_too_large(self, wire: ServedBroker, head: bytes) -> None:
        with wire.connect() as connection:
            # The rest of the headers comes after the answer, so that closing the socket does not lose it.
            connection.sendall(head[:262_144])
            check_wire_error(read_reply(connection), 431, "headers_too_large")

    @pytest.mark.parametrize(
        "line",
        [
            b"garbage",
            b"GET",
            b"GET /healthz",
            b"GET /healthz HTTP/9.9",
            b"GET  /healthz  HTTP/1.1",
            b"\x00\xff\xfe /healthz HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"get /healthz HTTP/1.1",
            b"G\tET /healthz HTTP/1.1",
            b"GET /health\nz HTTP/1.1",
            b"GET http://[x/healthz HTTP/1.1",
            b"GET //[x/healthz HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET * HTTP/1.1",
            b"CONNECT example.com:443 HTTP/1.1",
        ],
    )
    def test_a_request_line_that_is_none(self, wire: ServedBroker, line: bytes) -> None:
        reply = wire.send(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        if reply.status == 200:
            assert line in (b"GET /healthz", b"GET /healthz HTTP/9.9")
            assert reply.json == {"status": "ok"}
        else:
            check_error(reply.status, reply.headers.get("content-type"), reply.content)

    @pytest.mark.parametrize("header", [b"no colon", b"X : x", b": x", b"X: a\rb", b"X: a\nb", b" X: x", b"X\0: x"])
    def test_a_header_that_is_none(self, wire: ServedBroker, header: bytes) -> None:
        check_wire_error(wire.send(b"GET /healthz HTTP/1.1\r\n" + header + b"\r\n\r\n"), 400)

    def test_a_client_that_leaves_in_the_middle(self, wire: ServedBroker) -> None:
        for data in (b"", b"POST", produce_head("Content-Length: 15")[:-2], produce_head("Content-Length: 15")):
            with wire.connect() as connection:
                connection.sendall(data)
        with wire.connect() as connection:
            connection.sendall(produce_head("Content-Length: 15") + BODY[:-1])
        with wire.connect() as connection:
            connection.sendall(produce_head("Transfer-Encoding: chunked") + b"f\r\n" + BODY)
        with wire.connect() as connection:
            connection.sendall(produce_head("Content-Length: 1000") + b"x" * 500)
            connection.shutdown(socket.SHUT_RDWR)

    def test_requests_in_a_row_on_one_connection(self, wire: ServedBroker) -> None:
        bad = request("POST", "/messages/produce", json={"message": 1})
        good = request("GET", "/healthz")
        with wire.connect() as connection:
            connection.sendall(bad + good + bad + good)
            assert [read_reply_exactly(connection).status for _ in range(4)] == [400, 200, 400, 200]

    def test_methods(self, wire: ServedBroker) -> None:
        made = wire("POST", "/messages/produce", json={"message": "x"}).json["id"]
        for method in ("UPDATE", "PUT", "PATCH"):
            check_wire_error(wire(method, f"/messages/{made}"), 409, "not_claimed")
        for method in ("BREW", "get"):
            check_wire_error(wire(method, "/messages/produce"), 400, "bad_request")
        head = wire("HEAD", "/healthz")
        assert (head.status, head.content) == (200, b"")
        assert wire("OPTIONS", "/healthz").status == 200
        assert wire("DELETE", f"/messages/{made}").status == 200


def read_reply_exactly(connection: socket.socket) -> WireReply:
    """Read one answer byte by byte, to leave the next one on the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, head
        head += piece
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    content = b""
    while len(content) < int(headers["content-length"]):
        content += connection.recv(int(headers["content-length"]) - len(content))
    return WireReply(int(lines[0].split()[1]), headers, content)


# Random input

FIELDS = [
    "message",
    "messages",
    "delay",
    "max",
    "wait",
    "visibility_timeout",
    "receipt",
    "receipts",
    "id",
    "ids",
    "entries",
    "limit",
    "after",
    "status",
]
_text = st.text(st.characters(), max_size=8)
_names = st.sampled_from(FIELDS) | _text
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 2**63, 2**64, -(2**63) - 1, 10**400])
    | st.floats()
    | _text
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4), max_leaves=12
)
_objects = st.dictionaries(_names, _values, max_size=5)


def _pack(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return b"\xc1"


_bodies = (
    (_objects | _values).map(lambda value: (JSON, json.dumps(value).encode()))
    | _objects.map(lambda value: (JSON, json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")))
    | (_objects | _values).map(lambda value: (MSGPACK, _pack(value)))
    | st.binary(max_size=40).map(lambda data: (JSON, data))
    | st.binary(max_size=40).map(lambda data: (MSGPACK, data))
)
_queries = st.lists(st.tuples(_names, _scalars.map(str)), max_size=4).map(
    lambda pairs: "&".join(f"{_escape(name)}={_escape(value)}" for name, value in pairs)
) | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=30)


def _escape(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    log = FileLog(tmp_path_factory.mktemp("fuzzed") / "log")
    broker = Broker(log, limits=Limits(wait_s=0.001))
    yield Client(broker)
    broker.close()


def _routes() -> list[tuple[str, str]]:
    app = create_app(Broker(MemoryLog()))
    routes = [
        (method.method, route.path)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal and (method.method, route.path) not in SQS_ROUTES | UI_ROUTES
    ]
    assert len(routes) > 30
    return routes


@pytest.mark.parametrize(("method", "path"), _routes())
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_input(fuzzed: Client, method: str, path: str, data: st.DataObject) -> None:
    queue = data.draw(st.sampled_from(["default", "q", "nope"]) | _text.map(_escape))
    [known] = fuzzed.produce("x")
    message_id = data.draw(st.just(known) | _text.map(_escape))
    target = path.replace("{queue}", queue).replace("{message_id}", message_id)
    query = data.draw(st.just("") | _queries)
    media_type, body = data.draw(st.just((None, None)) | _bodies)
    reply = fuzzed(method, f"{target}?{query}", body=body, media_type=media_type)
    if path in ("/", "/docs"):
        assert reply.status_code == (302 if path == "/" else 200)
    elif reply.status_code in (200, 201, 202):
        assert method == "HEAD" or (reply.text if path == "/metrics" else reply.json) is not None
    else:
        error = check_error(reply.status_code, reply.headers.get("content-type"), reply.content)
        assert reply.status_code < 500, error
    assert fuzzed.get("/readyz") == {"status": "ready"}
