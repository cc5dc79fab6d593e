"""No call lasts longer than its timeouts, whatever the server does."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.client.script import UNSENT, answer, operations, play, refusal
from tests.client.slow_server import Answering, hang, slow_server, trickle, trickle_body
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client import http_asyncio, http_threads
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import Unreachable
from wonderq.client.http_asyncio import AsyncHttpPools
from wonderq.client.http_threads import HttpPools, _Cut, _Pool, _SlotGate
from wonderq.client.operations import SENDS, Batcher, carry_out
from wonderq.client.polls import Poll
from wonderq.client.requests import Answer, NoAnswer, Request
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
    assert len(asked) == 2
    assert all(each <= expected_s for each in asked), "a little of the time may have passed"
    assert (of_thread.value.outcome_unknown, of_task.value.outcome_unknown) == (False, False)


def test_a_task_that_gets_no_connection_made_no_call() -> None:
    async def scenario(url: str) -> None:
        async with AsyncClient(url, pool=1, timeout=0.5, retries=0) as client:
            first = asyncio.create_task(client.queue().receive(wait=20))
            while not server.requests:
                await asyncio.sleep(0)
            with pytest.raises(Unreachable, match="larger pool") as raised:
                await client.queue().receive(wait=0.01)
            assert not raised.value.outcome_unknown
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    with slow_server(hang) as server:
        asyncio.run(scenario(server.url))


def test_several_addresses_share_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    asked: list[float] = []

    def exchange(request: Request) -> NoAnswer:
        nonlocal now_s
        asked.append(request.timeout_s)
        now_s += 4
        return UNSENT

    class Pool:
        def exchange(self, request: Request, _poll: Poll | None) -> NoAnswer:
            return exchange(request)

    class AsyncPool:
        async def exchange(self, request: Request, _poll: Poll | None) -> NoAnswer:
            return exchange(request)

    async def exchange_in_asyncio() -> object:
        pools = AsyncHttpPools(endpoints, 1, 5)
        await pools.close()
        pools._pools = [AsyncPool()] * 5  # type: ignore[list-item]
        return await pools.exchange(request)

    for module in (http_threads, http_asyncio):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))
    endpoints = [Endpoint.of(f"http://127.0.0.1:{port}", None) for port in range(1, 6)]
    request = msgspec.structs.replace(Request.of("GET", "/queues"), timeout_s=10.0)
    pools = HttpPools(endpoints, 1, 5)
    pools.pools = [Pool()] * 5  # type: ignore[list-item]
    assert pools.exchange(request) is UNSENT
    assert asyncio.run(exchange_in_asyncio()) is UNSENT
    assert asked == [10, 6, 2] * 2


def test_the_requests_of_a_call_end_together() -> None:
    """A refused batch is sent again in halves, each of which would have the whole time."""
    now_s = 0.0
    asked: list[float] = []

    def refuse(request: Request) -> Answer:
        nonlocal now_s
        asked.append(request.timeout_s)
        now_s += 10
        return refusal(400, "invalid_value")

    messages = operations(*[{"message": "x"}] * 8)
    play(carry_out(Batcher("q", SENDS), messages, Retries(total_s=25, clock=lambda: now_s)), refuse)
    assert asked == [25, 15, 5]
    for each in messages:
        assert isinstance(each.error, Unreachable)
        assert not each.error.outcome_unknown


def test_the_request_after_a_cancelled_poll_ends_with_its_call() -> None:
    """It has no time to wait for messages, and no more than the call has left."""
    now_s = 0.0
    policy = Retries(total_s=25, clock=lambda: now_s).for_one_call(wait_s=10)
    for cancelled_s, left_s in ((1.0, 25.0), (20.0, 15.0)):
        now_s = cancelled_s
        [sent] = play(policy.repeat(Request.of("POST", "/", {})), lambda _: answer(200, {}))
        assert isinstance(sent, Request)
        assert sent.timeout_s == left_s


def test_a_slot_is_not_lost_with_a_thread_that_was_about_to_take_it() -> None:
    pool = _Pool(1)
    assert pool.enter(0, _Cut())

    class Interrupted(_Cut):
        def wait_at(self, gate: _SlotGate, ends_s: float) -> None:
            pool.leave(None)
            assert gate.has_slot
            raise KeyboardInterrupt

    class CutLate(_Cut):
        def wait_at(self, gate: _SlotGate, ends_s: float) -> None:
            pool.leave(None)
            assert gate.has_slot
            self.is_cut = True

    with pytest.raises(KeyboardInterrupt):
        pool.enter(0, Interrupted())
    assert pool.enter(0, _Cut())
    assert not pool.enter(0, CutLate())
    assert pool.enter(0, _Cut())
    assert not pool.enter(0, _Cut()), "there is no more than one"
    assert pool.enter(0, _Cut(), is_extra=True)
    pool.leave(None)
    assert not pool.enter(0, _Cut()), "the extra one was given back"
    pool.leave(None)
    assert pool.enter(0, _Cut())


def test_a_closed_client_makes_no_calls() -> None:
    with slow_server(hang) as server:
        client = Client(server.url, pool=1, timeout=1000, read_timeout=1000)
        client.close()
        for call in (client.queue().info, lambda: client.queue().send("x"), client.queue().receive) * 3:
            with pytest.raises(RuntimeError, match="closed"):
                Call(call).result()
        client.close()
        assert server.requests == 0


def test_a_call_that_waits_for_a_connection_ends_when_the_client_is_closed() -> None:
    with slow_server(hang) as server:
        client = Client(server.url, pool=1, timeout=1000, read_timeout=1000, retries=0)
        first = Call(client.queue("a").info)
        eventually(lambda: server.requests)
        others = [Call(client.queue(name).info) for name in "bc"]
        [pool] = client._engine._http.pools
        eventually(lambda: len(pool._pool._gates) == 2)
        client.close()
        for each in others:
            with pytest.raises(RuntimeError, match="closed"):
                each.result()
        server.close()
        with pytest.raises(Unreachable):
            first.result()


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
