"""HTTP for threads, by urllib3.

Its pool is safe to share between threads, checks connections before it uses them again, and is what botocore uses. When
it was chosen, a request took about half the CPU time that it took with httpx.
"""

from __future__ import annotations

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from wonderq.client.endpoint import Endpoint
from wonderq.client.requests import Answer, Failure, Request, retry_after_of

#: Seconds that a connection may take.
CONNECT_S = 5.0


class HttpPool:
    """A pool of connections to one broker."""

    def __init__(self, endpoint: Endpoint, connections: int) -> None:
        self._url = endpoint.url
        kind = urllib3.HTTPSConnectionPool if endpoint.is_tls else urllib3.HTTPConnectionPool
        self._pool = kind(endpoint.host, endpoint.port, maxsize=connections, block=True, headers=endpoint.headers)

    def exchange(self, request: Request) -> Answer | Failure:
        """Send a request and return what came of it."""
        try:
            response = self._pool.urlopen(
                request.method,
                request.target,
                body=request.body,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=request.timeout_s),
            )
        except NewConnectionError as error:
            return Failure(f"{self._url} cannot be reached: {error.__cause__ or error}", outcome_unknown=False)
        except (HTTPError, OSError) as error:
            return Failure(f"{self._url} did not answer: {error}", outcome_unknown=True)
        return Answer(response.status, response.data, retry_after_of(response.headers.get("Retry-After")))

    def close(self) -> None:
        self._pool.close()
