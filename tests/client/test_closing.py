"""The end of an `AsyncClient`, and its start in another event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.client.script import MESSAGE, answer
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client import async_engine
from wonderq.client.async_queue import AsyncQueue
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import ClientClosedError
from wonderq.client.http_asyncio import AsyncHttpPools
from wonderq.client.messages import Sent
from wonderq.client.polls import Poll
from wonderq.client.requests import Answer, Request


class Server(ThreadingHTTPServer):
    """A broker that answers when the test says so. A claim without a wait is answered at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.arrived = 0
        self.answers = threading.Event()

    async def wait_for(self, requests: int) -> None:
        await asyncio.to_thread(eventually, lambda: self.arrived == requests, "the requests")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.arrived += 1
        is_claim = self.path.endswith("/consume")
        if not is_claim or "wait" in fields:
            server.answers.wait(PATIENCE_S)
        body = (
            [MESSAGE]
            if is_claim
            else {"ids": ["id" for _ in fields["messages"]]}
            if "messages" in fields
            else {"kicked": 3}
        )
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.answers.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("call", "result"), [(AsyncQueue.kick, 3), (partial(AsyncQueue.send, body="x"), Sent("id"))], ids=["kick", "send"]
)
def test_a_call_under_way_finishes(server: Server, call: Callable[..., Any], result: object) -> None:
    async def scenario() -> None:
        client = AsyncClient(server.url)
        queue = client.queue("q")
        task = asyncio.create_task(call(queue))
        await server.wait_for(1)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosedError, match="closed"):
            await queue.kick()
        assert not closing.done()
        server.answers.set()
        assert await task == result
        await closing

    asyncio.run(scenario())


@pytest.mark.parametrize("poll", [None, Poll()])
def test_a_call_that_waits_for_messages_returns_those_that_are_claimed(server: Server, poll: Poll | None) -> None:
    async def scenario() -> None:
        client = AsyncClient(server.url)
        waiting = asyncio.create_task(client.queue("q").receive(wait=20, poll=poll))
        await server.wait_for(1)
        await asyncio.wait_for(client.close(), PATIENCE_S)
        [message] = await waiting
        assert message.id == MESSAGE["id"]
        assert not server.answers.is_set()

    asyncio.run(scenario())


def test_a_close_that_is_given_up_does_not_cancel_the_calls_of_others(server: Server) -> None:
    async def scenario() -> None:
        client = AsyncClient(server.url)
        queue = client.queue("q")
        cancelled, send = asyncio.create_task(queue.send("x")), asyncio.create_task(queue.send("y"))
        await server.wait_for(1)
        lanes = [asyncio.create_task(lane.close()) for lane in client._engine._lanes]
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        for each in (cancelled, closing, *lanes):
            each.cancel()
        await asyncio.wait([cancelled, closing, *lanes])
        server.answers.set()
        assert await send == Sent("id")
        await client.close()

    asyncio.run(scenario())


def test_first_calls_in_another_event_loop_share_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[AsyncHttpPools] = []

    class Pools(AsyncHttpPools):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

        async def exchange(self, _request: Request, _poll: Poll | None = None) -> Answer:
            return answer(200, {"kicked": 1})

    monkeypatch.setattr(async_engine, "AsyncHttpPools", Pools)
    client = AsyncClient("http://127.0.0.1:1")

    async def scenario() -> None:
        await asyncio.gather(*(client.queue("q").kick() for _ in range(5)))

    for loops in (1, 2, 3):
        asyncio.run(scenario())
        assert len(made) == loops
    asyncio.run(client.close())
