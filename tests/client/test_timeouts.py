"""No call lasts longer than its timeouts, whatever the server does."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from tests.client.script import answer, play, refusal
from tests.client.slow_server import Answering, hang, slow_server, trickle, trickle_body
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import Unreachable
from wonderq.client.polls import Poll
from wonderq.client.requests import Answer, Request
from wonderq.client.retries import Retries
from wonderq.client.sync import Client

SLOW = pytest.mark.parametrize("answering", [hang, trickle, trickle_body])


@SLOW
def test_a_slow_answer_is_given_up(answering: Answering) -> None:
    with slow_server(answering) as server, Client(server.url, read_timeout=0.2, retries=1) as client:
        with pytest.raises(Unreachable) as raised:
            Call(client.queue().send, "x").result()
        assert raised.value.outcome_unknown
        assert server.requests == 2


@SLOW
def test_the_total_time_ends_a_call_before_its_repetitions(answering: Answering) -> None:
    with slow_server(answering) as server, Client(server.url, timeout=0.5, retries=1000) as client:
        with pytest.raises(Unreachable):
            Call(client.queue().receive).result()
        assert server.requests < 10


@SLOW
def test_a_slow_answer_is_given_up_in_asyncio(answering: Answering) -> None:
    async def send(url: str) -> None:
        async with AsyncClient(url, read_timeout=0.2, retries=1) as client:
            with pytest.raises(Unreachable) as raised:
                await client.queue().send("x")
            assert raised.value.outcome_unknown

    async def receive(url: str) -> None:
        async with AsyncClient(url, timeout=0.5, retries=1000) as client:
            with pytest.raises(Unreachable):
                await client.queue().receive()

    async def scenario(url: str) -> None:
        await asyncio.gather(send(url), receive(url))

    with slow_server(answering) as server:
        Call(lambda: asyncio.run(scenario(server.url))).result()


def test_a_call_that_is_not_repeatable_is_made_once() -> None:
    with slow_server(hang) as server, Client(server.url, read_timeout=0.2, retries=5) as client:
        with pytest.raises(Unreachable) as raised:
            client.queue().kick()
        assert raised.value.outcome_unknown
        assert server.requests == 1


@pytest.mark.parametrize("code", ["log_failed", "log_lost"])
def test_a_call_is_repeated_after_an_answer_that_leaves_its_outcome_open_only_if_it_is_repeatable(code: str) -> None:
    policy = Retries(most=3, clock=lambda: 0.0)
    for repeatable, times in ((True, 4), (False, 1)):
        request = Request.of("POST", "/", {}, repeatable=repeatable)
        sent = play(policy.attempt(request), lambda _: refusal(503, code))
        assert [each for each in sent if isinstance(each, Request)] == [sent[0]] * times
    request = Request.of("POST", "/", {}, repeatable=False)
    sent = play(policy.attempt(request), lambda _: refusal(503, "shutting_down"))
    assert len([each for each in sent if isinstance(each, Request)]) == 4, "nothing was changed"


def test_an_outcome_that_one_answer_left_open_stays_open() -> None:
    outcomes = iter([refusal(503, "log_lost"), refusal(503, "not_ready")])
    with pytest.raises(Unreachable) as raised:
        play(Retries(most=1, clock=lambda: 0.0).attempt(Request.of("POST", "/", {})), lambda _: next(outcomes))
    assert raised.value.outcome_unknown


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, b"<html>"), (503, b"<html>"), (504, b""), (504, b'{"error": {"code": "timeout", "message": "of a proxy"}}')],
)
def test_a_call_that_a_proxy_answers_is_repeated_only_if_it_is_repeatable(status: int, body: bytes) -> None:
    """The proxy may have passed the request on, and lost the answer of the broker."""
    policy = Retries(most=2, clock=lambda: 0.0)
    for repeatable, times in ((True, 3), (False, 1)):
        request = Request.of("POST", "/", {}, repeatable=repeatable)
        sent = play(policy.attempt(request), lambda _: Answer(status, body))
        assert len([each for each in sent if isinstance(each, Request)]) == times


def test_an_outcome_that_a_proxy_left_open_stays_open() -> None:
    outcomes = iter([Answer(504, b"<html>"), refusal(503, "not_ready")])
    with pytest.raises(Unreachable) as raised:
        play(Retries(most=1, clock=lambda: 0.0).attempt(Request.of("POST", "/", {})), lambda _: next(outcomes))
    assert raised.value.outcome_unknown


def test_a_call_that_gets_no_connection_was_not_made() -> None:
    with slow_server(hang) as server, Client(server.url, pool=1, timeout=0.5, retries=0) as client:
        poll = Poll()
        first = Call(client.queue().receive, wait=20, poll=poll)
        eventually(lambda: server.requests)
        with pytest.raises(Unreachable, match="larger pool") as raised:
            Call(client.queue().receive, wait=0.01).result()
        assert not raised.value.outcome_unknown
        poll.cancel()
        with pytest.raises(Unreachable):
            first.result()


@pytest.mark.parametrize(("connect_s", "read_s", "expected_s"), [(3, 30, 3), (5, 2, 2)])
def test_connecting_has_a_timeout_of_its_own(
    monkeypatch: pytest.MonkeyPatch, connect_s: float, read_s: float, expected_s: float
) -> None:
    asked: list[float] = []

    def unreachable(_address: object, timeout_s: float, _source: object) -> None:
        asked.append(timeout_s)
        raise TimeoutError

    def unreachable_in_asyncio(*_request: object, timeout: aiohttp.ClientTimeout, **_options: object) -> None:
        assert timeout.sock_connect is not None
        asked.append(timeout.sock_connect)
        raise aiohttp.ConnectionTimeoutError

    async def send() -> None:
        async with AsyncClient("http://127.0.0.1:1", **options) as client:
            await client.queue().send("a")

    options: Any = {"connect_timeout": connect_s, "read_timeout": read_s, "retries": 0}
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(aiohttp.ClientSession, "request", unreachable_in_asyncio)
    with Client("http://127.0.0.1:1", **options) as client, pytest.raises(Unreachable) as of_thread:
        client.queue().send("a")
    with pytest.raises(Unreachable) as of_task:
        asyncio.run(send())
    assert asked == [expected_s, expected_s]
    assert (of_thread.value.outcome_unknown, of_task.value.outcome_unknown) == (False, False)


def test_a_closed_client_makes_no_calls() -> None:
    with slow_server(hang) as server:
        client = Client(server.url)
        client.close()
        for call in (client.queue().info, lambda: client.queue().send("x")):
            with pytest.raises(RuntimeError, match="closed"):
                call()
        client.close()
        assert server.requests == 0


def test_a_waiting_call_has_its_wait_besides_the_timeouts() -> None:
    waiting, asking = Request.of("POST", "/", {}, wait_s=20.0), Request.of("POST", "/", {})
    policy = Retries(read_s=30.0, total_s=10.0, clock=lambda: 0.0)
    for request, most_s in ((waiting, 30.0), (asking, 10.0)):
        [sent] = play(policy.attempt(request), lambda _: answer(200, {}))
        assert isinstance(sent, Request)
        assert sent.timeout_s == most_s


@pytest.mark.parametrize(
    "wrong", [{"retries": -1}, {"pool": 0}, {"timeout": 0}, {"connect_timeout": 0}, {"read_timeout": -1}, {"buffer": 0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="more"):
        Client(**wrong)  # type: ignore[arg-type]
