"""The bytes of calls that wait in a client are bounded."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.script import Gate, produced
from tests.client.slow_server import hang, slow_server
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import Unreachable
from wonderq.client.messages import Sent
from wonderq.client.room import Room
from wonderq.client.sync import Client


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["leave", "give up", "wait"])), max_size=40))
def test_no_more_is_let_in_than_there_is_room_for(calls: list[tuple[int, str]]) -> None:
    room = Room(50)
    inside: list[int] = []
    waiting: list[tuple[int, object]] = []
    for size, then in calls:

        def admit(size: int = size) -> None:
            inside.append(size)

        if room.enter(size):
            inside.append(size)
        else:
            room.wait(size, admit)
            waiting.append((size, admit))
        assert sum(inside) <= 50 or len(inside) == 1
        if then == "leave" and inside:
            room.leave(inside.pop(0))
        elif then == "give up" and room._waiting:
            room.give_up(*room._waiting[-1])
        assert sum(inside) <= 50 or len(inside) == 1
    while inside:
        room.leave(inside.pop(0))
    assert not room._waiting
    assert room.enter(50)


def test_a_call_that_finds_no_room_waits_for_it() -> None:
    gate = Gate(produced)
    client = Client("http://127.0.0.1:1", buffer=100)
    client._engine._http = gate  # type: ignore[assignment]
    queue = client.queue("q")
    first = Call(queue.send, "a" * 70)
    gate.wait_for_request()
    others = [Call(queue.send, letter * 70) for letter in "bc"]
    eventually(lambda: len(client._engine._room._waiting) == 2)
    for number in range(2, 4):
        gate.let_go()
        gate.wait_for_request()
        assert len(gate.requests) == number
    gate.let_go()
    assert first.result() == Sent("a" * 70)
    assert {each.result().id[0] for each in others} == {"b", "c"}


def test_a_call_that_never_finds_room_did_not_happen() -> None:
    gate = Gate(produced)
    client = Client("http://127.0.0.1:1", buffer=1, timeout=0.2)
    client._engine._http = gate  # type: ignore[assignment]
    first = Call(client.queue("q").send, "a")
    gate.wait_for_request()
    with pytest.raises(Unreachable, match="buffer") as raised:
        Call(client.queue("other").send, "b").result()
    assert not raised.value.outcome_unknown
    gate.let_go(2)
    first.result()
    assert client.queue("other").send("c") == Sent("c")
    assert len(gate.requests) == 2


def test_tasks_wait_for_room_and_may_be_cancelled_meanwhile() -> None:
    async def scenario(url: str) -> None:
        async with AsyncClient(url, buffer=1, timeout=0.5, retries=0) as client:
            first = asyncio.create_task(client.queue("q").send("a"))
            while client._engine._loop is None:
                await asyncio.sleep(0)
            cancelled = asyncio.create_task(client.queue("other").send("b"))
            while not client._engine._room._waiting:
                await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            with pytest.raises(Unreachable):
                await client.queue("other").send("c")
            with pytest.raises(Unreachable):
                await first
            assert client._engine._room.enter(1)

    with slow_server(hang) as server:
        asyncio.run(scenario(server.url))
