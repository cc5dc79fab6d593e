"""The health checks of a node."""

from __future__ import annotations

import falcon

from wonderq.cluster.shards import Shards
from wonderq.httpd.errors import RequestError, error_response
from wonderq.rest.bodies import render

#: Seconds after which a shard without an owner usually has one again.
_RETRY_AFTER = "1"


class EdgeHealth:
    """``/healthz``: the process responds. ``/readyz``: each shard has an owner.

    With ``?strict=false``, ``/readyz`` is 200 while any shard has one: for a load balancer, which has to leave a node
    out only if that node is cut off.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        strict = req.get_param("strict", default="true")
        if strict not in ("true", "false"):
            raise RequestError(400, "invalid_value", "strict must be true or false.", "strict")
        numbers = range(self._shards.count)
        missing = [each for each in numbers if self._shards.owner(each) is None and self._shards.local(each) is None]
        if not missing:
            render(req, resp, {"status": "ready"})
            return
        value = {"status": "degraded", "shards": {str(each): "no node is heard to own it" for each in missing}}
        if strict == "false" and len(missing) < self._shards.count:
            render(req, resp, value)
            return
        message = f"No node is heard to own {len(missing)} of {self._shards.count} shards."
        render(req, resp, {**value, **error_response(503, "not_ready", message)}, 503)
        resp.set_header("Retry-After", _RETRY_AFTER)

    on_head_ready = on_get_ready
