"""``/ui/session``: a browser exchanges a key for a cookie, and ends its session."""

from __future__ import annotations

import falcon

from wonderq.auth.access import Access
from wonderq.auth.sessions import SCHEME, SESSION_S, cookie_name, credential
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.errors import RequestError
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_query, render
from wonderq.rest.resource import Resource


class Session(Resource):
    """The session of the browser that makes the request."""

    def __init__(self, broker: Broker, access: Access | None, address: PublicAddress) -> None:
        super().__init__(broker, access)
        self._address = address

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        text = read_body(req, schemas.NewSession, self.broker.limits).key
        if self.access is not None and not self.access.open_to_all:
            key = self.access.find(f"Bearer {text}")
            if key is None:
                raise RequestError(403, "invalid_key", "This is not a valid key of this broker.", "key")
            self._set_cookie(req, resp, self.access.sessions.begin(key.id), SESSION_S)
        render(req, resp, {"success": True})

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        session = credential(lambda name: req.env.get(f"HTTP_{name}"))
        if self.access is not None and session is not None:
            self.access.sessions.end(session.removeprefix(SCHEME))
        self._set_cookie(req, resp, "", 0)
        render(req, resp, {"success": True})

    def _set_cookie(self, req: falcon.Request, resp: falcon.Response, value: str, max_age_s: int) -> None:
        is_secure = self._address.of(req.env).startswith("https:")
        name = cookie_name(req.env.get("HTTP_HOST", ""), is_secure=is_secure)
        resp.set_cookie(name, value, max_age=max_age_s, path="/", secure=is_secure, http_only=True, same_site="Strict")
