"""The WSGI application: routes and the one place where errors become answers."""

from __future__ import annotations

import logging

import falcon
from prometheus_client import CollectorRegistry

from wonderq import rest_api
from wonderq.access import Access
from wonderq.answers import ROUTE
from wonderq.broker import Broker
from wonderq.metrics import Metrics, make_registry
from wonderq.wire import RequestError, error_object, render

logger = logging.getLogger("wonderq.http")

App = falcon.App[falcon.Request, falcon.Response]


def create_app(broker: Broker, access: Access | None = None, registry: CollectorRegistry | None = None) -> App:
    """Return a WSGI application that serves ``broker``, to all who may use it. It holds no state of its own.

    ``registry`` is what it shows as metrics; without one, those of the broker.
    """
    if access is None:
        app: App = falcon.App(middleware=[_Outside()])
    else:
        app = falcon.App(middleware=[_Outside(), _Keyed(access)], router=access.router)
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    app.req_options.strip_url_path_trailing_slash = False
    for kind in rest_api.ERRORS:
        app.add_error_handler(kind, _answer_refusal)
    app.add_error_handler(RequestError, _answer_unreadable)
    app.add_error_handler(Exception, _answer_bug)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    rest_api.add_routes(app, broker, access)
    app.add_route("/metrics", Metrics(registry or make_registry(broker)))
    return app


class _Outside:
    """Refuses what a browser sends from a page of another site: without keys, the broker asks nobody who they are.

    And tells the server which route a request took.
    """

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        origin = req.env.get("HTTP_ORIGIN")
        foreign = origin is not None and origin.partition("://")[2] != req.netloc
        if foreign or req.env.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site"):
            raise RequestError(403, "cross_site", "This request comes from a page of another site, and is refused.")

    def process_response(self, req: falcon.Request, _resp: falcon.Response, _resource: object, _ok: bool) -> None:
        req.env[ROUTE] = req.uri_template


class _Keyed:
    """Refuses what the request's key does not open, before its body is read."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        error = self._access.authorize(req.method, req.path, req.auth)
        if error is not None:
            raise error


def _answer_refusal(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    value, retry_after = rest_api.describe_error(error)
    render(req, resp, value, value["statusCode"])
    if retry_after is not None:
        resp.set_header("Retry-After", str(retry_after))


def _answer_unreadable(req: falcon.Request, resp: falcon.Response, error: RequestError, _params: object) -> None:
    render(req, resp, error_object(error.status, error.code, str(error), error.field), error.status)
    resp.set_headers(error.headers)


_HTTP_CODES = {
    404: ("no_such_path", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method: the Allow header lists those it does."),
}


def _answer_http_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object) -> None:
    code, message = _HTTP_CODES.get(
        error.status_code, ("bad_request", error.description or error.title or "The request cannot be read.")
    )
    render(req, resp, error_object(error.status_code, code, message), error.status_code)
    if error.headers:
        resp.set_headers(error.headers)


def _answer_bug(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    logger.error("%s %s failed", req.method, req.uri_template, exc_info=error)
    message = "WonderQ made a mistake. The log of the broker has the details; please report it."
    render(req, resp, error_object(500, "internal_error", message), 500)
