"""Health checks."""

from __future__ import annotations

import falcon

from wonderq.httpd.errors import error_response
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
