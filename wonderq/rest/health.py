"""Health checks, and the answers of a process that has no broker at present."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import falcon

from wonderq.httpd.errors import RequestError, error_response
from wonderq.rest.bodies import render
from wonderq.rest.error_codes import ERROR_CODES
from wonderq.rest.resource import Resource

_RETRY_AFTER = str(ERROR_CODES["not_ready"].retry_after_s)


class Health(Resource):
    """``/healthz``: the process responds. ``/readyz``: the broker also serves requests."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    # Load balancers often use HEAD; the server leaves out the body.
    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        reason = self.broker.unready
        if reason is None:
            warnings = self.broker.warnings
            render(req, resp, {"status": "ready", "warnings": warnings} if warnings else {"status": "ready"})
        else:
            render(req, resp, error_response(503, "not_ready", f"The broker cannot serve requests: {reason}"), 503)
            resp.set_header("Retry-After", _RETRY_AFTER)

    on_head_ready = on_get_ready


class Standing(NamedTuple):
    """Why a process that shares its log with others serves no requests at present."""

    status: str
    """``standing_by``, ``reading``, ``taking_over``, ``waiting_for_quorum``, ``outdated`` or ``damaged``."""
    code: str
    """Code of the error of each request."""
    message: str
    owner: str | None = None
    """Name of the process that owns the log, or None if none is heard."""
    warnings: Sequence[str] = ()

    def refusal(self) -> RequestError:
        """Return the error of a request."""
        retry_after_s = ERROR_CODES[self.code].retry_after_s
        return RequestError(503, self.code, self.message, headers={"Retry-After": str(retry_after_s)})


class SharedLogState(NamedTuple):
    """State of a log that several processes share, as the one that owns it sees it."""

    node: str
    """Name of this process."""
    epoch: int
    took_over_ms: int
    """Time at which this process took the log over."""
    takeover_s: float
    """Seconds from the decision to take over until this process served."""
    fenced: int
    """Number of times that another process took the log from this one."""
    others: Sequence[tuple[str, str]]
    """Names of the other processes that are heard, and their roles."""
    clock_ahead_ms: int | None
    """By how much the system's clock is ahead of the others, or None if none of them is known."""
    replicas: int | None
    """NATS servers that are to have the log, and those that have all of it; None while NATS does not answer."""
    replicas_current: int | None


class StandByHealth:
    """The health checks of a process without a broker."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        standing = self._standing()
        value: dict[str, object] = {"status": standing.status, "owner": standing.owner}
        if standing.warnings:
            value["warnings"] = list(standing.warnings)
        refusal = standing.refusal()
        render(req, resp, {**value, **error_response(503, refusal.code, str(refusal))}, 503)
        resp.set_headers(refusal.headers)

    on_head_ready = on_get_ready
