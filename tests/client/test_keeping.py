"""`Queue.one` keeps its claim until the block ends. The broker is a script."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from tests.client.script import MESSAGE, answer, fields_of, refusal
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import NotFound, Refused
from wonderq.client.http_asyncio import AsyncHttpPools
from wonderq.client.http_threads import HttpPools
from wonderq.client.messages import Contents
from wonderq.client.polls import Poll
from wonderq.client.requests import Answer, Request
from wonderq.client.sync import Client

#: Short, so that the renewals come at once.
LEASE_S = 0.03


class Broker:
    """A broker that refuses the first renewal in one way, and accepts all others."""

    def __init__(self, refusal: Answer) -> None:
        self.renewals = 0
        self._refusal = refusal

    def exchange(self, request: Request, _poll: Poll | None = None) -> Answer:
        if request.target.endswith("/consume"):
            return answer(200, [MESSAGE])
        if not request.target.endswith("/update"):
            return answer(200, {"results": [{"success": True}]})
        self.renewals += 1
        if self.renewals == 1:
            return self._refusal
        return answer(200, {"results": [{"success": True} for _ in fields_of(request)["entries"]]})


def one_of_the_entries(status: int, code: str) -> Answer:
    error = {"code": code, "message": "no"}
    return answer(200, {"results": [{"success": False, "statusCode": status, "error": error}]})


def test_a_queue_that_is_refused_does_not_keep_others_from_their_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[str] = []

    def exchange(request: Request) -> Answer:
        queue = request.target.split("/")[2]
        if queue == "gone":
            return refusal(404, "queue_not_found")
        if queue == "busy":
            return refusal(503, "shutting_down")
        renewed.append(queue)
        return answer(200, {"results": [{"success": True}]})

    async def exchange_in_task(_pools: AsyncHttpPools, request: Request, _poll: Poll | None = None) -> Answer:
        return exchange(request)

    def message(queue: str) -> Contents:
        return msgspec.convert({**MESSAGE, "queue": queue, "receipt": queue}, Contents)

    monkeypatch.setattr(HttpPools, "exchange", lambda _pools, request, _poll=None: exchange(request))
    monkeypatch.setattr(AsyncHttpPools, "exchange", exchange_in_task)

    async def in_task(messages: list[Contents]) -> list[Refused | None]:
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client:
            return await client.renew(messages)

    client = Client("http://127.0.0.1:1", retries=0)
    for renew in (client.renew, lambda messages: asyncio.run(in_task(messages))):
        renewed.clear()
        errors = renew([message("gone"), message("q")])
        assert [type(each) for each in errors] == [NotFound, type(None)]
        with pytest.raises(Refused, match="no"):
            renew([message("busy"), message("gone"), message("q")])
        assert renewed == ["q", "q"]


@pytest.mark.parametrize(
    "first", [refusal(503, "shutting_down"), refusal(429, "too_many_requests"), refusal(507, "disk_full")]
)
def test_a_refusal_for_now_does_not_end_the_renewals(first: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    client, broker = Client("http://127.0.0.1:1", retries=0), Broker(first)
    client._engine._http = broker  # type: ignore[assignment]
    with client.queue("q").one(lease=LEASE_S):
        eventually(lambda: broker.renewals > 2, "further renewals")

    async def scenario() -> None:
        broker = Broker(first)

        async def exchange(_pools: AsyncHttpPools, request: Request, _poll: Poll | None = None) -> Answer:
            return broker.exchange(request)

        monkeypatch.setattr(AsyncHttpPools, "exchange", exchange)
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client, client.queue("q").one(lease=LEASE_S):
            await asyncio.to_thread(eventually, lambda: broker.renewals > 2, "further renewals")

    asyncio.run(scenario())


@pytest.mark.parametrize("first", [refusal(404, "queue_not_found"), one_of_the_entries(409, "stale_receipt")])
def test_a_claim_that_has_ended_is_renewed_no_longer(first: Answer) -> None:
    client, broker = Client("http://127.0.0.1:1", retries=0), Broker(first)
    client._engine._http = broker  # type: ignore[assignment]
    with client.queue("q").one(lease=LEASE_S):
        eventually(
            lambda: broker.renewals and not any(each.name == "wonderq-renew" for each in threading.enumerate()),
            "the end of the renewals",
        )
    assert broker.renewals == 1
