"""HTTP for asyncio, by aiohttp.

When it was chosen, a request took about a tenth of the CPU time that it took with the asyncio client of httpx.
"""

from __future__ import annotations

try:
    import aiohttp
except ImportError as missing:
    raise ImportError("AsyncClient needs aiohttp: pip install 'wonderq[asyncio]'", name="aiohttp") from missing

from wonderq.client.endpoint import Endpoint
from wonderq.client.http_threads import CONNECT_S
from wonderq.client.requests import Answer, Failure, Request, retry_after_of


class AsyncHttpPool:
    """A pool of connections to one broker. Make it in the event loop that uses it."""

    def __init__(self, endpoint: Endpoint, connections: int) -> None:
        self._url = endpoint.url
        self._session = aiohttp.ClientSession(
            base_url=endpoint.url,
            headers=endpoint.headers,
            connector=aiohttp.TCPConnector(limit=connections),
            auto_decompress=False,
        )

    async def exchange(self, request: Request) -> Answer | Failure:
        """Send a request and return what came of it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=request.timeout_s)
        try:
            async with self._session.request(
                request.method, request.target, data=request.body, timeout=timeout, allow_redirects=False
            ) as response:
                body = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(f"{self._url} cannot be reached: {error}", outcome_unknown=False)
        except (aiohttp.ClientError, OSError) as error:
            return Failure(f"{self._url} did not answer: {error or type(error).__name__}", outcome_unknown=True)
        return Answer(response.status, body, retry_after_of(response.headers.get("Retry-After")))

    async def close(self) -> None:
        await self._session.close()
