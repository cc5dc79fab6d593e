"""HTTP for asyncio, by aiohttp.

When it was chosen, a request took about a tenth of the CPU time that it took with the asyncio client of httpx.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import msgspec

try:
    import aiohttp
except ImportError as missing:
    raise ImportError("AsyncClient needs aiohttp: pip install 'wonderq[asyncio]'", name="aiohttp") from missing

from wonderq.client.addresses import Addresses
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import ClientClosedError
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer, Request, retry_after_of

#: Connections of parent processes. To finalize one would stop the parent from reading it: they share the selector.
_of_parents: list[aiohttp.BaseConnector] = []


class AsyncHttpPool:
    """Pools of connections to one broker: one for the requests that wait for messages, and one for all others.

    So no request waits for the end of a long poll. Make it in the event loop that uses it.
    """

    def __init__(self, endpoint: Endpoint, connections: int, connect_timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._process_id = os.getpid()
        self._url = endpoint.url
        self._connect_timeout_s = connect_timeout_s
        self._session, self._waiting_session = (
            aiohttp.ClientSession(
                base_url=endpoint.url,
                headers=endpoint.headers,
                connector=aiohttp.TCPConnector(limit=0),  # in it, nobody could tell the wait for one from a request
                auto_decompress=False,
            )
            for _ in range(2)
        )
        self._slots, self._waiting_slots = asyncio.Semaphore(connections), asyncio.Semaphore(connections)

    async def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        """Send a request and return what came of it.

        Raises:
            PollCancelled: the poll was cancelled before the answer came.
            ClientClosedError: the pool is closed.
        """
        if poll is None:
            return await self._exchange(request)
        loop = asyncio.get_running_loop()
        exchange = asyncio.ensure_future(self._exchange(request))
        try:
            with poll.interrupted_by(lambda: _cancel_in(loop, exchange)):
                return await exchange
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if poll.is_cancelled and (task is None or not task.cancelling()):
                raise PollCancelled from None
            raise
        finally:
            exchange.cancel()

    async def _exchange(self, request: Request) -> Answer | NoAnswer:
        if request.follows_wait:  # a cancelled call is to return soon
            return await self._send(request)
        ends_s = time.monotonic() + request.timeout_s
        slots = self._waiting_slots if request.waits else self._slots
        if not await _enter(slots, request.timeout_s):
            reason = "all connections of the client are in use: give it a larger pool"
            return NoAnswer(reason, outcome_unknown=False, is_local=True)
        try:
            left_s = max(ends_s - time.monotonic(), 0.001)
            return await self._send(msgspec.structs.replace(request, timeout_s=left_s))
        finally:
            slots.release()

    async def _send(self, request: Request) -> Answer | NoAnswer:
        if self._session.closed:
            raise ClientClosedError
        timeout = aiohttp.ClientTimeout(
            total=request.timeout_s, sock_connect=min(self._connect_timeout_s, request.timeout_s)
        )
        try:
            session = self._waiting_session if request.waits else self._session
            async with session.request(
                request.method,
                request.target,
                data=request.body,
                headers={"Content-Type": request.media_type},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return NoAnswer(f"{self._url} cannot be reached: {error}", outcome_unknown=False, cause=error)
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            return NoAnswer(f"{self._url} did not answer: {reason}", outcome_unknown=True, cause=error)
        retry_after_s = retry_after_of(response.headers.get("Retry-After"))
        return Answer(response.status, body, retry_after_s, owner=response.headers.get("WonderQ-Owner"))

    async def close(self) -> None:
        await self._session.close()
        await self._waiting_session.close()

    async def abandon(self) -> None:
        """Forget the connections, whose event loop has ended or belongs to the parent process."""
        for session in (self._session, self._waiting_session):
            connector = session.connector
            session.detach()
            if connector is None:
                continue
            if self._process_id != os.getpid():
                _of_parents.append(connector)
            elif self._loop.is_closed():
                await connector.close()


class AsyncHttpPools:
    """A pool for each of the addresses of a broker, or of the nodes of a cluster."""

    def __init__(self, endpoints: Sequence[Endpoint], connections: int, connect_timeout_s: float) -> None:
        self._pools = [AsyncHttpPool(each, connections, connect_timeout_s) for each in endpoints]
        self._addresses = Addresses([each.url for each in endpoints])

    async def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        """Send a request to the address for it, and to others that surely have not got it; return what came of it.

        Raises: as `AsyncHttpPool.exchange`.
        """
        ends_s = time.monotonic() + request.timeout_s
        while True:
            at = self._addresses.of(request)
            outcome, again = self._addresses.judge(at, request, await self._pools[at].exchange(request, poll))
            left_s = ends_s - time.monotonic()
            if not again or left_s <= 0:
                return outcome
            request = msgspec.structs.replace(request, timeout_s=left_s)

    async def close(self) -> None:
        for each in self._pools:
            await each.close()

    async def abandon(self) -> None:
        """Do what `AsyncHttpPool.abandon` does, with all pools."""
        for each in self._pools:
            await each.abandon()


async def _enter(slots: asyncio.Semaphore, timeout_s: float) -> bool:
    """Take a slot; return whether one was free in time."""
    if not slots.locked():  # asyncio.timeout() takes far longer than this
        return await slots.acquire()
    try:
        async with asyncio.timeout(timeout_s):
            return await slots.acquire()
    except TimeoutError:
        return False


def _cancel_in(loop: asyncio.AbstractEventLoop, exchange: asyncio.Future[Answer | NoAnswer]) -> None:
    """Cancel a request from any thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(exchange.cancel)
