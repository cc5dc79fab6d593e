"""Logs of a running broker: their form, their request ids, and the contents that they never have."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.http_client import Wire, encode, read_reply
from tests.support.waiting import eventually
from wonderq.auth import keys
from wonderq.logs import LogWriter, set_up_logging

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: .+")
ACCESS = re.compile(r".* INFO wonderq\.access: (\S+) (\S+) (\d+) in \d+\.\d ms for 127\.0\.0\.1 \[(\S+)\]")

CANARY = "canary7f3a"
"""Text in every secret and every body."""


class Secrets(NamedTuple):
    key: str
    receipts: list[str]

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in (CANARY, self.key, self.key[-64:], *self.receipts) if secret in text]


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def head(method: str, target: str, *lines: str, body: bytes = b"") -> bytes:
    length = (f"Content-Length: {len(body)}",) if body else ()
    start = (f"{method} {target} HTTP/1.1", "Host: localhost", *length, *lines)
    return "".join(f"{line}\r\n" for line in start).encode("latin-1") + b"\r\n" + body


def push(wire: Wire, key: str) -> Secrets:
    """Send secrets wherever a request can have them: what is right, what is refused, and what is no request at all."""
    bearer, of_json = f"Authorization: Bearer {key}", "Content-Type: application/json"

    def send(method: str, target: str, *lines: str, value: Any = None, body: bytes = b"") -> Any:
        body = encode(value) if value is not None else body
        return wire.send(head(method, target, bearer, *((of_json,) if body else ()), *lines, body=body), method=method)

    assert send("POST", "/messages/produce", value={"messages": [f"{CANARY} body {n}" for n in range(9)]}).status == 201
    claimed = send("GET", "/messages/consume?max=9").json
    secrets = Secrets(key, [each["receipt"] for each in claimed])
    ids, receipts = [each["id"] for each in claimed], secrets.receipts
    assert send("DELETE", f"/messages/{ids[0]}?receipt={receipts[0]}").status == 200
    assert send("DELETE", f"/messages/{ids[0]}?receipt={receipts[0]}").status == 404
    assert send("UPDATE", f"/messages/{ids[1]}", value={"receipt": receipts[1], "message": CANARY}).status == 200
    assert send("POST", "/messages/delete", value={"receipts": [receipts[2], receipts[2], CANARY]}).status == 200
    assert send("POST", "/messages/update", value={"entries": [{"receipt": receipts[3]}]}).status == 200
    assert send("GET", "/dev/messages").status == 200
    refused = [
        send("POST", "/messages/produce", body=b'{"message": "' + CANARY.encode()),
        send("POST", "/messages/produce", value={CANARY: receipts[4], "message": key}),
        send("POST", "/messages/produce", value={"message": {CANARY: receipts[4]}}),
        send("POST", "/messages/produce", body=f"\xff{CANARY}".encode("latin-1")),
        send("GET", f"/messages/consume?max={CANARY}"),
        send("GET", f"/messages/consume?{CANARY}={receipts[4]}&receipt={key}"),
        send("GET", f"/messages/{receipts[4]}"),
        send("GET", f"/{CANARY}/{receipts[4]}/{key}"),
        send("GET", f"/queues/{CANARY}/messages/consume"),
        send("GET", f"/messages/%zz{CANARY}{receipts[4]}"),
        send("PUT", f"/queues/{CANARY}!"),
        send(CANARY.upper().translate({ord(digit): None for digit in "0123456789"}), "/queues"),
        send("GET", "/queues", f"Authorization: {key}"),
        send("GET", "/queues", "Host: " + CANARY),
        send("GET", "/queues", "Origin: http://" + CANARY),
        send("GET", f"http://{CANARY}/queues"),
        wire.send(head("GET", "/queues", f"Authorization: Bearer {key}{CANARY}")),
        wire.send(head("GET", "/queues", f"Authorization: Basic {CANARY}")),
        wire.send(head("GET", f"/queues?key={key}")),
        wire.send(f"{CANARY} {key} {receipts[4]}\r\n\r\n".encode()),
        wire.send(head("GET", "/queues", f" {CANARY}: {key}")),
        wire.send(head("POST", f"/messages/produce?{receipts[4]}", bearer, of_json, f"Transfer-Encoding: {CANARY}")),
    ]
    assert all(400 <= reply.status < 502 and reply.status != 500 for reply in refused), [r.status for r in refused]
    for name in (key, receipts[5], f"{CANARY} {key}", f"{receipts[5]},{CANARY}"):  # what is no name for a request
        assert send("GET", "/healthz", f"X-Request-Id: {name}", f"Cookie: {CANARY}", f"User-Agent: {key}").status == 200
    # Clients that go away while they are served.
    for data in (
        head("GET", f"/messages/consume?wait=20&visibility_timeout=1&{CANARY}=1", bearer),
        head("DELETE", f"/messages/{ids[6]}?receipt={receipts[6]}", bearer),
        head("POST", f"/messages/produce?{key}", bearer, "Content-Length: 100") + CANARY.encode(),
    ):
        with wire.connect() as connection:
            connection.sendall(data)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for lines in ((f"{CANARY}: 1",), ("Content-Length: 5", f"Content-Type: {CANARY}")):
        with wire.connect() as connection, suppress(ConnectionError):
            connection.sendall(head("POST", "/messages/produce", bearer, *lines) + CANARY[:5].encode())
            read_reply(connection)
    return secrets


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_is_ever_logged(tmp_path: Path, form: str) -> None:
    _, key = keys.create(tmp_path / "keys.json", name="test", roles=["admin"], queues=["*"])
    options = ("--log-level", "debug", "--log-format", form, "--access-log", "--keys", str(tmp_path / "keys.json"))
    with RunningBroker(tmp_path / "d", *options) as broker:
        wire = Wire(broker.host, broker.port)
        secrets = push(wire, key)
        metrics = wire.send(head("GET", "/metrics", f"Authorization: Bearer {key}"))
        broker.process.terminate()
        assert broker.process.stdout is not None
        printed = broker.process.stdout.read()
        assert broker.terminate() == 0
        logged = broker.log()
    assert len(secrets.receipts) == 9
    assert secrets.found_in(f"the key is {key}")
    assert secrets.found_in(printed + logged) == []
    assert metrics.status == 200
    assert secrets.found_in(metrics.content.decode()) == []
    if form == "console":
        assert all(LINE.fullmatch(line) for line in logged.splitlines()), logged
        requests = [found.groups() for line in logged.splitlines() if (found := ACCESS.fullmatch(line))]
        routes = {(method, route, int(status)) for method, route, status, _ in requests}
    else:
        lines = [each for each in objects(logged) if each["logger"] == "wonderq.access"]
        routes = {(each["method"], each["route"], each["status"]) for each in lines}
    assert {
        ("POST", "/messages/produce", 201),
        ("DELETE", "/messages/{message_id}", 404),
        ("GET", "none", 401),
        ("GET", "none", 400),
        ("other", "none", 400),
    } <= routes


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path / "d", "--log-level", "debug") as broker:
        yield broker


def test_requests_are_not_logged_unless_that_is_asked_for(quiet: RunningBroker) -> None:
    assert Wire(quiet.host, quiet.port)("GET", "/queues").status == 200
    assert quiet.terminate() == 0
    assert "wonderq.access" not in quiet.log()
    assert "ready after" in quiet.log()


def test_of_a_client_that_goes_away_no_path_is_logged(quiet: RunningBroker) -> None:
    wire = Wire(quiet.host, quiet.port)
    with wire.connect() as connection:
        connection.sendall(head("GET", "/queues/default/messages/consume?wait=20", "X-Request-Id: gone"))
        eventually(lambda: b"wonderq_waiting_consumers 1.0" in wire("GET", "/metrics").content, "it waits")
    eventually(lambda: b"wonderq_waiting_consumers 0.0" in wire("GET", "/metrics").content, "it is noticed")
    assert quiet.terminate() == 0
    assert "/messages/consume" not in quiet.log()


def test_access_log_in_json_by_variables(tmp_path: Path) -> None:
    environment = {"WONDERQ_LOG_FORMAT": "json", "WONDERQ_ACCESS_LOG": "on", "WONDERQ_LOG_LEVEL": "error"}
    with RunningBroker(tmp_path / "d", environment=environment) as broker:
        Wire(broker.host, broker.port).send(head("GET", "/queues/x?a=b", "X-Request-Id: mine"))
        assert broker.terminate() == 0
    log = broker.log()
    [line] = objects(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    took_ms = line.pop("duration_ms")
    assert 0 < took_ms < 60_000
    assert line.pop("message").startswith("GET /queues/{queue} 400 in ")
    assert line == {
        "level": "info",
        "logger": "wonderq.access",
        "request_id": "mine",
        "method": "GET",
        "route": "/queues/{queue}",
        "status": 400,
        "address": "127.0.0.1",
    }


@pytest.fixture
def json_handler() -> Iterator[logging.Handler]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    root.handlers.clear()
    yield set_up_logging("info", "json")
    root.handlers[0].close()
    root.handlers[:] = kept
    root.setLevel(level)


def test_an_exception_is_one_line_of_json_whatever_is_in_it(json_handler: logging.Handler) -> None:
    try:
        raise ValueError('two\nlines, a "quote" and \udcff')
    except ValueError as error:
        record = logging.LogRecord("a", logging.ERROR, "", 1, "failed: %s", ("\udcff\n",), (type(error), error, None))
    text = json_handler.format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "failed: \udcff\n"
    assert line["exception"].startswith('ValueError: two\nlines, a "quote"')
    assert "request_id" not in line


# A standard error that takes no lines


def logged(writer: LogWriter, text: str) -> None:
    writer.handle(logging.LogRecord("a", logging.INFO, "", 1, "%s", (text,), None))


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_wait_in_order_and_those_that_were_dropped_are_counted(
    monkeypatch: pytest.MonkeyPatch, blocking: bool
) -> None:
    monkeypatch.setattr("wonderq.logs._MAX_LINES", 10)
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(writing, "w", encoding="ascii") as stream, os.fdopen(reading, "rb") as reader:
        writer = LogWriter(stream)
        writer.setFormatter(logging.Formatter("%(message)s"))
        logged(writer, "x" * (1 << 20))  # no pipe holds as much, so the thread is blocked until it is read
        eventually(lambda: writer._lines.qsize() == 0)
        for number in range(15):
            logged(writer, f"line {number} \u00e9")
        assert reader.read((1 << 20) + 1) == b"x" * (1 << 20) + b"\n"
        eventually(lambda: writer._lines.qsize() == 0)
        logged(writer, "last")
        writer.close()
        logged(writer, "after the end")
        stream.close()
        lines = reader.read().decode().splitlines()
    assert lines[:10] == [f"line {number} \\xe9" for number in range(10)]
    assert lines[10:] == ["5 lines of the log were dropped here, because standard error took none", "last"]


def test_dropped_lines_are_counted_also_if_no_line_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wonderq.logs._MAX_LINES", 0)
    stream = io.StringIO()
    writer = LogWriter(stream)
    logged(writer, "dropped")
    writer.close()
    assert stream.getvalue() == "1 lines of the log were dropped here, because standard error took none\n"


def test_without_a_standard_error_lines_go_nowhere() -> None:
    writer = LogWriter(None)
    logged(writer, "x")
    writer.close()
