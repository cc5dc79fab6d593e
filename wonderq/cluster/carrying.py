"""Carrying a request out wherever its shard is: here or at another node, and again when the shard moves meanwhile."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from wonderq.cluster.applications import Applications, Obstacle, Outcome, Response, no_obstacle
from wonderq.cluster.forwarding import Forwarder
from wonderq.cluster.shards import Shards
from wonderq.cluster.wire import ForwardedRequest
from wonderq.httpd.errors import RequestError
from wonderq.runtime.fibers import Event

#: Time in which a request is tried again that was surely not carried out.
RETRY_S = 5.0

#: Bounds of the pause between two tries. A change of the owner ends it.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25


class Carrier:
    """Carries requests out.

    Threads: any number may call any method. A fiber that waits blocks no thread.
    """

    def __init__(
        self,
        shards: Shards,
        apps: Applications,
        forwarder: Forwarder,
        *,
        retry_s: float = RETRY_S,
        obstacle: Obstacle = no_obstacle,
    ) -> None:
        self._shards = shards
        self._apps = apps
        self._forwarder = forwarder
        self._retry_s = retry_s
        self._obstacle = obstacle
        self._waiting: dict[int, set[Event]] = {}
        self.stop = shards.changed(self._tell)
        """Ends the calls of ``shards``."""

    def _tell(self, shard: int) -> None:
        for each in list(self._waiting.get(shard, ())):
            each.set()

    def carry_out(
        self,
        shard: int,
        request: ForwardedRequest,
        client_gone: Callable[[], bool],
        is_repeatable: Callable[[], bool] = lambda: False,
        first: Outcome | None = None,
    ) -> Response:
        """Carry a request out, and return the response, which the caller has to read or close.

        ``is_repeatable`` tells whether doing it twice does the same as doing it once. ``first`` is the outcome of a
        try that was made before, if it was one that a further try may follow.

        Raises:
            RequestError: ``shard_unavailable``, or the obstacle: it was surely not carried out. ``outcome_unknown``: it
                may have been.
        """
        obstacle = self._obstacle(shard)
        if obstacle is not None:
            if first is not None and first.verdict == "unknown":  # an obstacle says that nothing was carried out
                return _final(shard, first, is_unknown=True)
            if first is not None and first.response is not None:
                first.response.close()
            raise obstacle
        request.shard = shard
        began_s, waited_s = time.monotonic(), request.waited_s
        troubled_s: float | None = None
        tries, is_unknown = 0, False
        while True:
            tried_s = time.monotonic()
            request.id = secrets.token_hex(8)
            request.waited_s = waited_s + tried_s - began_s
            outcome, first = first or self._try(shard, request, client_gone), None
            if outcome.verdict == "done":
                assert outcome.response is not None
                return outcome.response
            if outcome.verdict == "unknown":
                is_unknown = True
                request.former_ids.append(request.id)
            now_s = time.monotonic()
            if troubled_s is None or now_s - tried_s > self._retry_s:
                troubled_s = now_s  # a poll that was moved has its time again
            is_over = now_s - troubled_s >= self._retry_s or client_gone()
            if is_over or (is_unknown and not is_repeatable()):
                return _final(shard, outcome, is_unknown=is_unknown)
            if outcome.response is not None:
                outcome.response.close()
            self._pause(shard, min(_FIRST_PAUSE_S * (1 << min(tries, 8)), _LONGEST_PAUSE_S))
            tries += 1

    def try_once(self, shard: int, request: ForwardedRequest) -> Outcome:
        """Make one try to carry out a request of the node itself, and return what came of it."""
        if self._obstacle(shard) is not None:
            return Outcome("not_done", reason=str(self._obstacle(shard)))
        request.shard, request.id = shard, secrets.token_hex(8)
        return self._try(shard, request, lambda: False)

    def _try(self, shard: int, request: ForwardedRequest, client_gone: Callable[[], bool]) -> Outcome:
        if self._shards.local(shard) is not None:
            return self._apps.carry_out(request, client_gone)
        owner = self._shards.process(shard)
        if owner is None:
            return Outcome("not_done", reason="No node is heard to own it.")
        if owner == (self._shards.node, self._shards.token):
            return Outcome("not_done", reason="This node is taking it over.")
        request.token = owner.token
        outcome = self._forwarder.send(owner.node, request, client_gone)
        url = self._shards.url_of(owner.node)
        if outcome.response is None or not url:
            return outcome
        return outcome._replace(response=outcome.response._replace(owner_url=url))

    def _pause(self, shard: int, seconds: float) -> None:
        """Wait until the shard has another owner, or for some time."""
        changed = Event()
        waiting = self._waiting.setdefault(shard, set())
        waiting.add(changed)
        changed.wait(seconds)
        waiting.discard(changed)


def _final(shard: int, outcome: Outcome, *, is_unknown: bool) -> Response:
    """Return the response to a request that is not tried again.

    Raises:
        RequestError: the owner has given none.
    """
    if outcome.response is not None:
        if outcome.response.code == 503 and not is_unknown:
            return outcome.response
        outcome.response.close()
    if is_unknown:
        raise outcome_unknown(f"The node that owns shard {shard}", outcome.reason)
    message = f"Shard {shard} is not available. {outcome.reason} The request was not carried out: send it again."
    raise RequestError(503, "shard_unavailable", message, headers={"Retry-After": "1"})


def outcome_unknown(who: str, reason: str) -> RequestError:
    """Return the error for a request that somebody may have carried out."""
    message = (
        f"{who} may or may not have carried out the request. {reason} Send it again, with an idempotency key if it "
        "produces."
    )
    return RequestError(503, "outcome_unknown", message, headers={"Retry-After": "1"})
