"""Health, readiness, and pages that never change."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import falcon

from wonderq.httpd.errors import error_response
from wonderq.rest.bodies import render
from wonderq.rest.resource import Resource


class Health(Resource):
    """``/healthz``: the process answers. ``/readyz``: it also takes work."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    # Load balancers often ask this way; the server leaves out the body.
    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        reason = self.broker.unready
        if reason is None:
            render(req, resp, {"status": "ready"})
        else:
            render(req, resp, error_response(503, "not_ready", f"The broker takes no work: {reason}"), 503)
            resp.set_header("Retry-After", "30")

    on_head_ready = on_get_ready


class Page:
    """Something that is always the same: made at the start, and sent as it is."""

    def __init__(self, content: bytes, content_type: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self._content = content
        self._content_type = content_type
        self._headers = headers

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = self._content_type
        resp.data = self._content
        resp.set_headers(self._headers)
