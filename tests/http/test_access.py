"""Access rules: each route and method, with each kind of key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import falcon.inspect
import pytest

from tests.support.http_client import SQS_ROUTES, UI_ROUTES, Client, check_refused, routes_of, serving
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import ROLES, RULES, Role
from wonderq.broker.broker import Broker
from wonderq.httpd.head import Head
from wonderq.model.messages import Target
from wonderq_storage import FileLog

# A key without a role for it is told so (403). `elsewhere` has all roles, for other queues. A client without a key, or with one that
# is unknown, expired or revoked, gets what `keyless` says. `metrics` opens all queues, the others do not: what tells of all
# is for that one, and not for an `admin` of some. The calls on messages are made on the default queue, and under
# /queues/orders-1 too.
TABLE = """
method  path                    fields                                        keyless  produce  consume  look  inspect  metrics  admin  elsewhere
POST    /messages/produce       {"message": "x"}                              401      201      403      403   403      403      201    403
GET     /messages/consume       -                                             401      403      200      403   403      403      200    403
POST    /messages/consume       {"max": 1}                                    401      403      200      403   403      403      200    403
POST    /messages/next          {"delete": ["RECEIPT"]}                       401      403      200      403   403      403      200    403
POST    /messages/delete        {"receipts": ["RECEIPT"]}                     401      403      200      403   403      403      200    403
POST    /messages/delete        {"ids": ["ID"]}                               401      403      403      403   403      403      200    403
POST    /messages/update        {"entries": [{"receipt": "RECEIPT"}]}         401      403      200      403   403      403      200    403
POST    /messages/update        {"entries": [{"id": "ID"}]}                   401      403      403      403   403      403      200    403
POST    /messages/update        {"entries": [{"receipt": "R"}, {"id": "I"}]}  401      403      403      403   403      403      200    403
POST    /messages/update        {"entries": [{"message": "neither"}]}         401      403      403      403   403      403      200    403
POST    /messages/kick          {"max": 1}                                    401      403      403      403   403      403      200    403
POST    /messages/hand-over     {"receipts": ["RECEIPT"], "produce": [{"message": "x", "queue": "orders-1"}]}  401  403  403  403   403  403  201  403
GET     /messages/{message_id}  -                                             401      403      403      403   200      403      200    403
DELETE  /messages/{message_id}  {"receipt": "RECEIPT"}                        401      403      200      403   403      403      200    403
DELETE  /messages/{message_id}  -                                             401      403      403      403   403      403      200    403
UPDATE  /messages/{message_id}  {"receipt": "RECEIPT"}                        401      403      200      403   403      403      200    403
UPDATE  /messages/{message_id}  -                                             401      403      403      403   403      403      200    403
PUT     /messages/{message_id}  {"receipt": "RECEIPT"}                        401      403      200      403   403      403      200    403
PUT     /messages/{message_id}  {"visibility_timeout": 0}                     401      403      403      403   403      403      200    403
PATCH   /messages/{message_id}  {"receipt": "RECEIPT", "message": "new"}      401      403      200      403   403      403      200    403
PATCH   /messages/{message_id}  {"message": "new"}                            401      403      403      403   403      403      200    403
GET     /dev/messages           -                                             401      403      403      403   200      403      200    403
GET     /dev/messages/status    ?status=processing                            401      403      403      403   200      403      200    403
GET     /dev/messages/count     ?status=processing                            401      403      403      200   200      403      200    403
GET     /dev/messages/search    ?contains=x                                   401      403      403      403   200      403      200    403
GET     /overview               -                                             401      403      403      200   200      403      200    200
GET     /overview/history       -                                             401      403      403      403   403      403      403    403
GET     /overview/broker        -                                             401      403      403      403   403      403      403    403
GET     /queues/{queue}/history  -                                            401      403      403      200   200      403      200    403
GET     /queues                 -                                             401      403      403      200   200      403      200    200
GET     /queues/{queue}         -                                             401      403      403      200   200      403      200    403
PUT     /queues/{queue}         {"delay": 0}                                  401      403      403      403   403      403      200    403
DELETE  /queues/{queue}         -                                             401      403      403      403   403      403      200    403
POST    /queues/{queue}/purge   -                                             401      403      403      403   403      403      200    403
GET     /queues/{queue}/redrive  -                                            401      403      403      403   200      403      200    403
POST    /queues/{queue}/redrive  {"destination": "default"}                   401      403      403      403   403      403      202    403
POST    /queues/{queue}/redrive  {"destination": "secret"}                    401      403      403      403   403      403      403    403
POST    /queues/{queue}/redrive  -                                            401      403      403      403   403      403      403    403
POST    /queues/{queue}/redrive/messages  {"ids": ["ID"], "destination": "default"}  401  403   403      403   403      403      200    403
POST    /queues/{queue}/redrive/messages  {"ids": ["ID"], "destination": "secret"}   401  403   403      403   403      403      403    403
POST    /queues/{queue}/redrive/messages  {"ids": ["ID"]}                     401      403      403      403   403      403      403    403
GET     /redrives               -                                             401      403      403      403   200      403      200    200
GET     /search                 -                                             401      403      403      403   200      403      200    200
GET     /queues/{queue}/redrive/{redrive_id}     -                            401      403      403      403   200      403      200    403
DELETE  /queues/{queue}/redrive/{redrive_id}     -                            401      403      403      403   403      403      200    403
GET     /schedules              -                                             401      403      403      403   200      403      200    200
GET     /schedules/{schedule}   -                                             401      403      403      403   200      403      200    404
PUT     /schedules/{schedule}   {"missed": "all"}                             401      403      403      403   403      403      200    400
PUT     /schedules/{schedule}   {"queue": "secret"}                           401      403      403      403   403      403      403    403
DELETE  /schedules/{schedule}   -                                             401      403      403      403   403      403      200    404
GET     /cron/times             ?cron=30%204%20*%20*%20*                      401      403      403      403   200      403      200    200
GET     /topics                 -                                             401      403      403      200   200      403      200    200
GET     /topics/{topic}         -                                             401      403      403      200   200      403      200    403
PUT     /topics/{topic}         {"tags": {}}                                  401      403      403      403   403      403      200    403
DELETE  /topics/{topic}         -                                             401      403      403      403   403      403      200    403
POST    /topics/{topic}/publish  {"message": "x"}                             401      201      403      403   403      403      201    403
POST    /topics/{topic}/match   {"message": "x"}                              401      403      403      200   200      403      200    403
GET     /topics/{topic}/subscriptions  -                                      401      403      403      200   200      403      200    403
GET     /topics/{topic}/subscriptions/{subscription}  -                       401      403      403      200   200      403      200    403
PUT     /topics/{topic}/subscriptions/{subscription}  {"queue": "orders-1"}   401      403      403      403   403      403      200    403
PUT     /topics/{topic}/subscriptions/{subscription}  {"dead_letter_queue": "secret"}  401  403  403  403  403     403      403    403
DELETE  /topics/{topic}/subscriptions/{subscription}  -                       401      403      403      403   403      403      200    403
GET     /metrics                -                                             401      403      403      403   403      200      403    403
GET     /healthz                -                                             200      200      200      200   200      200      200    200
HEAD    /healthz                -                                             200      200      200      200   200      200      200    200
GET     /readyz                 -                                             200      200      200      200   200      200      200    200
HEAD    /readyz                 -                                             200      200      200      200   200      200      200    200
GET     /                       -                                             302      302      302      302   302      302    302    302
GET     /docs                   -                                             200      200      200      200   200      200    200    200
GET     /openapi.json           -                                             200      200      200      200   200      200    200    200
"""


class Call(NamedTuple):
    method: str
    template: str
    fields: str
    expected: dict[str, int]


def calls() -> Iterator[Call]:
    heading, *rows = (re.split(r"  +", line) for line in TABLE.strip().splitlines())
    for method, path, fields, *statuses in rows:
        expected = {name: int(status) for name, status in zip(heading[3:], statuses, strict=True)}
        yield Call(method, path, fields, expected)
        if path.startswith(("/messages", "/dev")):
            yield Call(method, "/queues/{queue}" + path, fields, expected)


CALLS = list(calls())


class Credentials:
    """A file with one key of each kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, str] = {}
        for role in ROLES:
            self.keys[role] = self.add(role, queues=("*",)) if role == "metrics" else self.add(role)
        self.keys["elsewhere"] = self.add(*ROLES, queues=("other-*", "default-not", "orders"))
        expired = self.add(*ROLES, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        revoked = self.add(*ROLES)
        keys.revoke(path, [revoked])
        known = self.keys["admin"]
        self.headers: dict[str, list[dict[str, str]]] = {
            **{name: [bearer(key)] for name, key in self.keys.items()},
            "keyless": [
                {},
                bearer(expired),
                bearer(revoked),
                bearer("wq_000000000000_" + "0" * 64),
                bearer(known[:-1] + ("0" if known[-1] != "0" else "1")),
            ],
        }

    def add(self, *roles: Any, queues: tuple[str, ...] = ("orders-*", "default"), **more: Any) -> str:
        return keys.create(self.path, name="test", roles=roles, queues=queues, **more)[1]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def app_client(credentials: Credentials) -> Client:
    return Client(Broker(MemoryLog()), Access(Keys(credentials.path)))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.template} {call.fields}")
def test_each_call_is_for_those_in_the_table(app_client: Client, credentials: Credentials, call: Call) -> None:
    broker = app_client.broker
    queue = "orders-1" if "{queue}" in call.template else "default"
    found: dict[str, set[int]] = {}
    for name, all_headers in credentials.headers.items():
        for headers in all_headers:
            broker.put_queue("orders-1")
            broker.purge(queue)
            broker.produce(queue, ["x"])
            [message] = broker.claim(queue)
            fields = call.fields.replace("RECEIPT", str(message.receipt)).replace("ID", message.id)
            path = call.template.replace("{queue}", queue).replace("{message_id}", message.id)
            for move in broker.redrives.list(queue):
                if move.status == "running":
                    broker.redrives.cancel(move.id)
            if "{redrive_id}" in path:
                path = path.replace("{redrive_id}", broker.redrives.start(queue, "default"))
            broker.schedules.put("nightly", cron="0 0 * * *", queue="orders-1", body="x")
            path = path.replace("{schedule}", "nightly")
            broker.topics.put("orders-topic")
            broker.topics.subscribe("orders-topic", "mine", queue="orders-1")
            path = path.replace("{topic}", "orders-topic").replace("{subscription}", "mine")
            target, body = (path + fields, None) if fields[0] == "?" else (path, fields if fields != "-" else None)
            reply = app_client(call.method, target, body=body, headers=headers)
            found.setdefault(name, set()).add(reply.status_code)
            if reply.status_code in (401, 403):
                assert broker.count(queue, "processing") == 1, "what is refused changes nothing"
            if reply.status_code == 403:
                needed = RULES[call.template][call.method]
                text = reply.json["error"]["message"]
                others = ("admin", "produce") if call.template.endswith("/hand-over") else ("admin",)
                assert any(f"with the role {role}" in text for role in (needed, *others))
            if reply.status_code == 401:
                assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert found == {name: {status} for name, status in call.expected.items()}


def test_every_route_is_in_the_table_and_has_a_rule_and_there_are_no_others() -> None:
    app = create_app(Broker(MemoryLog()))
    routes = routes_of(app)
    assert routes == {(call.method, call.template) for call in CALLS} | SQS_ROUTES | UI_ROUTES
    assert routes == {(method, path) for path, methods in RULES.items() for method in methods}
    sinks = [(sink.prefix, sink.name) for sink in falcon.inspect.inspect_sinks(app)]
    assert sinks == [("/", "serve_plain_name")], "it serves calls for which is_plain_name holds"
    assert falcon.inspect.inspect_static_routes(app) == []


def test_a_route_or_method_without_a_rule_is_refused_to_everybody(credentials: Credentials) -> None:
    class Forgotten:
        def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
            raise AssertionError

    access = Access(Keys(credentials.path))
    app = create_app(Broker(MemoryLog()), access)
    app.add_route("/queues/{queue}/forgotten", Forgotten())
    app.add_route("/messages/forgotten", Forgotten())  # which fits /messages/{message_id} too
    client = falcon.testing.TestClient(app)
    for method, path in (
        ("GET", "/queues/orders-1/forgotten"),
        ("GET", "/messages/forgotten"),
        ("DELETE", "/messages/produce"),
        ("OPTIONS", "/messages/produce"),
    ):
        reply = client.simulate_request(method, path, headers=bearer(credentials.keys["admin"]))
        check_refused(reply, 403, "forbidden")
        check_refused(client.simulate_request(method, path), 401, "unauthorized")


def test_what_is_not_there_is_said_only_to_those_with_a_key(app_client: Client, credentials: Credentials) -> None:
    for path in ("/nothing", "/docs/", "/queues/", "/healthz/", "//queues", "/queues/orders-1/messages/a/b"):
        check_refused(app_client("GET", path), 401, "unauthorized")
    check_refused(app_client("GET", "/nothing", headers=bearer(credentials.keys["produce"])), 404, "path_not_found")


def test_a_queue_of_others_is_forbidden_whether_it_is_there_or_not(
    app_client: Client, credentials: Credentials
) -> None:
    app_client.broker.put_queue("secret")
    for name in ("secret", "nothing", "ORDERS-1", "orders", "x" * 200):
        for target in (f"/queues/{name}", f"/queues/{name}/messages/consume"):
            reply = app_client("GET", target, headers=bearer(credentials.keys["admin"]))
            assert reply.status_code == 403, target


def test_only_ones_own_queues_are_listed(app_client: Client, credentials: Credentials) -> None:
    for each in list(app_client.broker.queues()):  # other tests of this module may have made some
        if each.name != "default":
            app_client.broker.drop_queue(each.name)
    for name in ("orders-1", "orders-2", "secret"):
        app_client.broker.put_queue(name)
    for name, expected in (("inspect", ["default", "orders-1", "orders-2"]), ("elsewhere", [])):
        reply = app_client("GET", "/queues", headers=bearer(credentials.keys[name]))
        assert [queue["queue"] for queue in reply.json] == expected


def test_metrics_are_for_keys_that_open_all_queues(tmp_path: Path, app_client: Client) -> None:
    path = tmp_path / "keys.json"
    cases: tuple[tuple[tuple[Role, ...], tuple[str, ...], int], ...] = (
        (("admin",), ("*",), 200),
        (("metrics",), ("other", "*"), 200),
        (("metrics",), ("orders-*", "default"), 403),
        (("inspect", "consume", "produce"), ("*",), 403),
    )
    for roles, queues, status in cases:
        key = keys.create(path, name="test", roles=roles, queues=queues)[1]
        reply = Client(app_client.broker, Access(Keys(path)))("GET", "/metrics", headers=bearer(key))
        assert reply.status_code == status, (roles, queues)


def test_a_receipt_of_another_queue_opens_nothing(app_client: Client, credentials: Credentials) -> None:
    broker = app_client.broker
    broker.put_queue("secret")
    broker.put_queue("orders-1")
    broker.produce("secret", ["x"])
    [message] = broker.claim("secret")
    for verb, body in (
        ("delete", {"receipts": [message.receipt]}),
        ("update", {"entries": [{"receipt": message.receipt, "message": "mine"}]}),
    ):
        reply = app_client(
            "POST", f"/queues/orders-1/messages/{verb}", json=body, headers=bearer(credentials.keys["consume"])
        )
        assert reply.json["results"][0]["error"]["code"] == "message_not_found"
    assert broker.get("secret", message.id).body == "x"
    broker.delete("secret", Target(receipt=message.receipt))


def test_produce_creates_a_queue_within_the_patterns_unless_the_broker_forbids_it(
    app_client: Client, credentials: Credentials
) -> None:
    headers = bearer(credentials.keys["produce"])
    assert app_client("POST", "/queues/orders-new/messages/produce", json={"message": "x"}, headers=headers).json["id"]
    strict = Client(Broker(MemoryLog(), create_queues=False), Access(Keys(credentials.path)))
    reply = strict("POST", "/queues/orders-new/messages/produce", json={"message": "x"}, headers=headers)
    check_refused(reply, 404, "queue_not_found")


def test_a_key_is_asked_for_before_the_body_is_looked_at(app_client: Client) -> None:
    for body, media_type in ((b"", "application/json"), (b"{", "application/json"), (b"x", "text/plain")):
        reply = app_client("POST", "/messages/produce", body=body, media_type=media_type)
        check_refused(reply, 401, "unauthorized")


def test_a_page_of_another_site_is_refused_with_a_key_too(app_client: Client, credentials: Credentials) -> None:
    headers = {**bearer(credentials.keys["admin"]), "Origin": "http://evil.example"}
    check_refused(app_client("GET", "/queues", headers=headers), 403, "cross_site_request")


def test_the_head_of_a_request_is_enough(credentials: Credentials) -> None:
    access = Access(Keys(credentials.path))
    create_app(Broker(MemoryLog()), access)  # which says what paths there are
    header = bearer(credentials.keys["produce"])["Authorization"]
    assert access.authorize("POST", "/queues/orders-1/messages/produce", header) is None
    assert access.authorize("GET", "/healthz", None) is None
    for method, path, given, status in (
        ("POST", "/queues/orders-1/messages/produce", None, 401),
        ("POST", "/queues/secret/messages/produce", header, 403),
        ("POST", "/queues/orders-1/messages/consume", header, 403),
        ("POST", "/queues/\xff/messages/produce", header, 403),
    ):
        refused = access.authorize(method, path, given)
        assert refused is not None
        assert refused.status == status


# The header

Form = Callable[[str], str]


@pytest.mark.parametrize(
    "form", ["Bearer {}", "bearer {}", "BEARER {}", "bEARER   {}", "Bearer {}  "], ids=lambda form: repr(form)
)
def test_forms_of_the_header_that_count(app_client: Client, credentials: Credentials, form: str) -> None:
    headers = {"Authorization": form.format(credentials.keys["inspect"])}
    assert app_client("GET", "/queues", headers=headers).status_code == 200


BAD_FORMS = [
    "", " ", "{}", "Bearer", "Bearer ", "Bearer{}", "Bearer\t{}", "Basic {}", "Token {}", "Bearer {}, Bearer {}", "Bearer {},{}",
    "Bearer {} x", "Bearer x{}", "Bearer {}x", "Bearer {} {}", "Bearer \xff{}", "Bearer {}\xff", "Bearer \xe9" * 30,
    "Bearer wq_", "Bearer wq_000000000000_", "Bearer " + "x" * 100_000, "Bearer {}" + " " * 1000 + "x", "Bearer ****",
]  # fmt: skip


@pytest.mark.parametrize("form", BAD_FORMS, ids=lambda form: repr(form[:40]))
def test_every_other_form_gets_the_one_answer(app_client: Client, credentials: Credentials, form: str) -> None:
    given = form.replace("{}", credentials.keys["inspect"])
    without = app_client("GET", "/queues")
    # Over WSGI the header comes as Latin-1.
    reply = app_client("GET", "/queues", headers={"Authorization": given})
    check_refused(reply, 401, "unauthorized")
    assert reply.content == without.content
    assert reply.headers["WWW-Authenticate"] == without.headers["WWW-Authenticate"]


def test_text_that_no_server_passes_on_is_refused_without_an_error(credentials: Credentials) -> None:
    found = Keys(credentials.path)
    for text in ("Bearer \udcff", "Bearer \U0001f511", "Bearer " + credentials.keys["admin"] + "\0", "\0"):
        assert found.find(text) is None


def test_an_id_is_compared_with_its_own_hash_alone(credentials: Credentials) -> None:
    ours, theirs = credentials.keys["inspect"], credentials.keys["admin"]
    assert Keys(credentials.path).find(f"Bearer {theirs[:15]}{ours[15:]}") is None


def test_an_unknown_id_takes_the_same_comparison_of_bytes(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[object, object]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(keys, "compare_digest", compare)
    found = Keys(credentials.path)
    known = f"Bearer {credentials.keys['admin']}"
    for given in (known, known[:-1], "Bearer nothing", None, "x" * 1000, "Bearer \xe9"):
        found.find(given)
    assert len(compared) == 6
    assert all(type(each) is bytes and len(each) == 32 for pair in compared for each in pair)


def test_nobody_is_let_in_by_the_stand_in_for_unknown_keys(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "compare_digest", lambda _a, _b: True)  # as if a hash of zeros had been found
    assert Keys(credentials.path).find("Bearer nothing") is None


@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_a_large_body_is_not_even_awaited_from_whoever_has_no_key(
    tmp_path: Path, credentials: Credentials, length: bytes
) -> None:
    broker = Broker(FileLog(tmp_path / "log"))
    access = Access(Keys(credentials.path))
    key = credentials.keys["produce"].encode()
    head = b"POST /queues/orders-1/messages/produce HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n"
    try:
        with serving(broker, create_app(broker, access), check_head=access.check_head) as served:
            reply = served.send(head + b"\r\n")
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            with served.connect() as connection:
                connection.sendall(head + b"Expect: 100-continue\r\nAuthorization: Bearer " + key + b"\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    finally:
        broker.close()


@pytest.mark.parametrize(
    "authorization", ["", "AWS4-HMAC-SHA256 Credential=made-up/20260101/us-east-1/sqs/aws4_request", "Bearer anything"]
)
def test_without_keys_a_large_body_is_awaited_whatever_its_header(tmp_path: Path, authorization: str) -> None:
    """SQS clients sign with made-up credentials if they need none."""
    broker = Broker(MemoryLog())
    access = Access(Keys(tmp_path / "keys.json"))
    create_app(broker, access)
    headers = {"AUTHORIZATION": authorization} if authorization else {}
    for path in ("/", "/messages/produce"):
        assert access.check_head(Head("POST", path, headers, "127.0.0.1", 1_000_000)) is None


def test_over_the_wire(tmp_path: Path, credentials: Credentials) -> None:
    broker = Broker(FileLog(tmp_path / "log"))
    key = credentials.keys["inspect"].encode()
    try:
        with serving(broker, create_app(broker, Access(Keys(credentials.path)))) as served:

            def status(*lines: bytes) -> int:
                return served.send(b"\r\n".join([b"GET /queues HTTP/1.1", b"Host: x", *lines, b"", b""])).status

            assert status(b"Authorization: Bearer " + key) == 200
            assert status(b"authorization:bearer " + key) == 200
            assert status() == 401
            assert status(b"Authorization: Bearer \xff\xfe") == 401
            assert status(b"Authorization: Bearer " + key + b"\xc3\xa9") == 401
            # A server may refuse two of them by itself.
            assert status(*[b"Authorization: Bearer " + key] * 2) in (400, 401)
            assert status(b"Authorization: " + b"x" * 300_000) in (401, 431)
            reply = served.send(b"GET /queues HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reply.headers["www-authenticate"] == "Bearer"
            assert json.loads(reply.content)["error"]["code"] == "unauthorized"
    finally:
        broker.close()
