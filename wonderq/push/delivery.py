"""One attempt to deliver a message, and what follows from its outcome."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from wonderq.broker.pushes import Pushed, PushedMessage, PushRequest
from wonderq.broker.updates import Update
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, Target
from wonderq.model.push import DeliveryPolicy, Endpoint, parse_endpoint
from wonderq.push.connection import BadResponseError, Response
from wonderq.push.connections import Answer, Connections
from wonderq.push.resolver import ForbiddenAddressError, Resolver

_USER_AGENT = "WonderQ"
_ERROR_TYPE = "PushError"
_REASON_CHARACTERS = 300


class Outcome(NamedTuple):
    """Outcome of an attempt."""

    reason: str = ""
    """Sentence that says why the message was not delivered; empty if it was."""
    is_final: bool = False
    """Whether no further attempt may succeed, because the endpoint has refused this message."""
    retry_after_s: int = 0
    """Seconds for which the endpoint wants no requests, as it says."""

    @property
    def is_delivered(self) -> bool:
        """Whether the endpoint has the message."""
        return not self.reason

    @property
    def is_fault(self) -> bool:
        """Whether the endpoint may be at fault, and not this message."""
        return bool(self.reason) and not self.is_final


def judge(response: Response) -> Outcome:
    """Return the outcome that a response means, as in SNS: only 429 and what is no 4xx may change by itself.

    A redirect is not followed, because it could lead to any host.
    """
    status = response.status
    if 200 <= status < 300:
        return Outcome()
    if 300 <= status < 400:
        return Outcome(f"The endpoint responded with {status}, and redirects are not followed.")
    reason = f"The endpoint responded with {status}."
    if 400 <= status < 500 and status != 429:
        return Outcome(reason, is_final=True)
    return Outcome(reason, retry_after_s=response.retry_after_s or 0)


class Sender:
    """Sends requests to endpoints."""

    def __init__(self, resolver: Resolver, connections: Connections) -> None:
        self._resolver = resolver
        self._connections = connections

    async def send(self, url: str, request: PushRequest, timeout_s: float) -> Outcome | None:
        """Send a request, and return the outcome. It is None if nothing was tried, for want of a thread for the lookup.

        The outcome is known with the head of the response. How long its body takes, or that the broker stops meanwhile,
        does not change it.
        """
        endpoint = parse_endpoint(url)
        lookup = self._resolver.lookup(endpoint.host)
        if not await lookup.has_begun():
            return None
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await self._resolver.addresses(lookup)
                answer = await self._post(endpoint, addresses, request)
        except TimeoutError:
            return Outcome(f"The endpoint did not respond within {timeout_s:g} seconds.")
        except (BadResponseError, ForbiddenAddressError, OSError) as error:
            text = (str(error) or type(error).__name__).encode("ascii", "backslashreplace").decode()
            return Outcome(f"The endpoint cannot be reached: {text[:_REASON_CHARACTERS]}")
        with suppress(asyncio.CancelledError):
            await answer.finish()
        return judge(answer.response)

    async def _post(self, endpoint: Endpoint, addresses: Sequence[str], request: PushRequest) -> Answer:
        """Send a request to the first address that accepts a connection."""
        headers = {"User-Agent": _USER_AGENT, **request.headers}
        for address in addresses[:-1]:
            try:
                return await self._connections.post(endpoint, address, headers, request.body)
            except (ConnectionRefusedError, ConnectionAbortedError):
                continue
            except OSError as error:
                if isinstance(error, ConnectionResetError | ssl.SSLError | TimeoutError):
                    raise
        return await self._connections.post(endpoint, addresses[-1], headers, request.body)


class Settlement(NamedTuple):
    """The deletion or the change of a message after an attempt."""

    queue: str
    """Name of the queue of the message. The subscription may have another one meanwhile."""
    delivered: Target | None
    failed: Update | None


def settlement_of(pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage, outcome: Outcome) -> Settlement:
    """Return what becomes of a message: it is deleted, tried again later, or a dead letter."""
    target = Target(receipt=message.receipt)
    if outcome.is_delivered:
        return Settlement(pushed.queue, target, None)
    delay_ms = None if outcome.is_final else policy.delay_ms(message.attempts)
    if delay_ms is None and message.is_confirmation:
        return Settlement(pushed.queue, target, None)  # it is no message of anybody; `Subscribe` asks again
    if delay_ms is None:
        origin = parse_endpoint(pushed.push.url).origin
        error = ReportedError(f"{outcome.reason} Attempt {message.attempts} at {origin}.", _ERROR_TYPE)
        return Settlement(pushed.queue, None, (target, Change(dead=True, error=error)))
    change = Change(delay_ms=delay_ms) if delay_ms else Change(visibility_timeout_ms=0)
    return Settlement(pushed.queue, None, (target, change))


def released(pushed: Pushed, message: PushedMessage) -> Settlement:
    """Return the change that gives back a message whose attempt was not made, so that it does not count."""
    change = Change(visibility_timeout_ms=0, uncounted=True)
    return Settlement(pushed.queue, None, (Target(receipt=message.receipt), change))
