"""The load of the benchmarks goes on after answers after which a client sends its request again, and counts them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import pytest

from benchmarks import load
from benchmarks.cluster import sides
from benchmarks.cluster.sides import Side, call

OUTCOME_UNKNOWN = (503, b'{"error": {"code": "outcome_unknown", "message": "x"}}')
NO_QUORUM = (503, b'{"error": {"code":"no_quorum"}}')
DONE = (200, b'{"number": 1}')


class ScriptedServer(ThreadingHTTPServer):
    """Gives the answers of a list in turn, then `DONE`, and keeps the bodies of all requests."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.answers.pop(0) if self.server.answers else DONE
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def scripted(*answers: tuple[int, bytes]) -> Iterator[ScriptedServer]:
    with ScriptedServer(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (load, sides):
        monkeypatch.setattr(module, "REPEATED_AFTER_S", 0.0)


def numbered() -> load.Script:
    numbers = iter(range(100))
    return lambda _: load.request("/", b"%d" % next(numbers))


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_a_refused_request_is_sent_again_and_counted(rate: float | None) -> None:
    with scripted(DONE, OUTCOME_UNKNOWN, NO_QUORUM, DONE, OUTCOME_UNKNOWN) as server:
        done = load.run(server.url, [numbered()], requests=3, rate=rate, passing=load.PASSING)
    assert server.bodies == [b"0", b"1", b"1", b"1", b"2", b"2"]
    assert done.repeated == {"outcome_unknown": 2, "no_quorum": 1}
    assert len(done.latencies_s) == 3


def test_the_script_goes_on_with_the_answer_that_was_no_refusal() -> None:
    seen: list[bytes] = []

    def script(answer: bytes) -> bytes:
        seen.append(answer)
        return load.request("/", b"x")

    with scripted(OUTCOME_UNKNOWN) as server:
        load.run(server.url, [script], requests=2, passing=load.PASSING)
    assert seen == [b"", DONE[1]]


def test_other_connections_work_while_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "REPEATED_AFTER_S", 0.2)
    with scripted(OUTCOME_UNKNOWN) as server:
        done = load.run(server.url, [numbered(), numbered()], requests=20, passing=load.PASSING)
    assert max(done.latencies_s) >= 0.2, "the pause counts"
    assert sorted(done.latencies_s)[-2] < max(done.latencies_s)
    assert done.repeated == {"outcome_unknown": 1}


def test_a_refusal_ends_a_load_that_does_not_expect_it() -> None:
    with scripted(OUTCOME_UNKNOWN) as server, pytest.raises(load.LoadError, match=r"503 .*outcome_unknown"):
        load.run(server.url, [numbered()], requests=1)


def test_a_server_that_always_refuses_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_REPETITIONS", 3)
    with (
        scripted(*[NO_QUORUM] * 9) as server,
        pytest.raises(load.LoadError, match="refused a request 4 times, at last with no_quorum"),
    ):
        load.run(server.url, [numbered()], requests=1, passing=load.PASSING)


def test_single_requests_are_sent_again_and_counted() -> None:
    with scripted(OUTCOME_UNKNOWN, NO_QUORUM) as server:
        side = Side([server.url], lambda: 0, lambda: 0)
        assert side.ask("POST", "/", {}) == {"number": 1}
    assert side.repeated == {"outcome_unknown": 1, "no_quorum": 1}


def test_single_requests_are_not_sent_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "MOST_REPETITIONS", 2)
    repeated = Counter[str]()
    with scripted(*[NO_QUORUM] * 9) as server, pytest.raises(HTTPError):
        call(server.url, "POST", "/", {}, repeated=repeated)
    assert repeated == {"no_quorum": 2}


def test_a_mistake_is_not_sent_again() -> None:
    with scripted((400, b'{"error": {"code": "invalid"}}')) as server, pytest.raises(HTTPError):
        call(server.url, "POST", "/", {}, repeated=Counter())
    assert len(server.bodies) == 1
