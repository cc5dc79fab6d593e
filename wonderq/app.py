"""The WSGI application: routes and the one place where errors become answers."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import falcon
from prometheus_client import CollectorRegistry

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import TrustedHosts
from wonderq.httpd.errors import JSON, RequestError, error_response
from wonderq.httpd.responses import ROUTE
from wonderq.metrics import Metrics, make_registry
from wonderq.openapi import document, page
from wonderq.rest import redrive, schedules
from wonderq.rest.bodies import render
from wonderq.rest.errors import ERRORS, describe_error, retry_after_s
from wonderq.rest.listing import Listing
from wonderq.rest.messages import Consume, DeleteBatch, HandOver, Kick, MessageResource, Produce, UpdateBatch
from wonderq.rest.queues import Count, Purge, QueueResource, Queues
from wonderq.rest.site import Health, Page
from wonderq.sqs import endpoint as sqs
from wonderq.sqs.endpoint import Endpoint
from wonderq.sqs.limits import STRICT, SqsLimits

logger = logging.getLogger("wonderq.http")

App = falcon.App[falcon.Request, falcon.Response]

_UNKNOWN_HOST = "Ask for this broker as localhost or 127.0.0.1, or start it with --hosts and the name that was in Host."

#: Headers that a page of another origin may read.
_EXPOSED = ("Retry-After", "WWW-Authenticate", "X-Request-Id")


def create_app(
    broker: Broker,
    access: Access | None = None,
    registry: CollectorRegistry | None = None,
    *,
    hosts: TrustedHosts | None = None,
    cors_origins: Collection[str] = (),
    sqs_limits: SqsLimits = STRICT,
) -> App:
    """Return a WSGI application that serves ``broker``, to all who may use it. It holds no state of its own.

    ``registry`` is what it shows as metrics; without one, those of the broker. As long as there are no keys it has to be
    asked for by one of the ``hosts``, if these are given. Pages of the ``cors_origins`` may use it; of other sites none may.
    ``sqs_limits`` are those of its SQS endpoint.
    """
    middleware: list[Any] = [OriginMiddleware(cors_origins, hosts, access)]
    if cors_origins:
        middleware.insert(0, falcon.CORSMiddleware(allow_origins=cors_origins, expose_headers=_EXPOSED))
    if access is None:
        app: App = falcon.App(middleware=middleware)
    else:
        app = falcon.App(middleware=[*middleware, AuthMiddleware(access, cors_origins)], router=access.router)
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    app.req_options.strip_url_path_trailing_slash = False
    for kind in ERRORS:
        app.add_error_handler(kind, _answer_refusal)
    app.add_error_handler(RequestError, _answer_unreadable)
    app.add_error_handler(Exception, _answer_bug)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    add_routes(app, broker, access, sqs_limits)
    redrive.add_routes(app, broker, access)
    schedules.add_routes(app, broker, access)
    app.add_route("/metrics", Metrics(registry or make_registry(broker)))
    return app


class OriginMiddleware:
    """Refuses what comes from a page of another site, or is meant for another name than one of ours; see `TrustedHosts`.

    Without keys, the broker asks nobody who they are. In one class, since each costs every request a microsecond; so this one
    also tells the server which route a request took.
    """

    def __init__(self, cors_origins: Collection[str], hosts: TrustedHosts | None, access: Access | None) -> None:
        self._cors_origins = frozenset(cors_origins)
        self._hosts = hosts
        self._access = access

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        env = req.env
        origin = env.get("HTTP_ORIGIN")
        if origin not in self._cors_origins:
            foreign = origin is not None and origin.partition("://")[2] != req.netloc
            if foreign or env.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site"):
                raise RequestError(
                    403, "cross_site_request", "This request comes from a page of another site, and is refused."
                )
        if self._hosts is not None:
            host = env.get("HTTP_HOST")  # which every browser sends
            if host is not None and not self._hosts.accept(host) and (self._access is None or self._access.open_to_all):
                raise RequestError(421, "unknown_host", _UNKNOWN_HOST)

    def process_response(self, req: falcon.Request, _resp: falcon.Response, _resource: object, _ok: bool) -> None:
        req.env[ROUTE] = req.uri_template


class AuthMiddleware:
    """Refuses what the request's key does not open, before its body is read."""

    def __init__(self, access: Access, cors_origins: Collection[str]) -> None:
        self._access = access
        self._cors_origins = frozenset(cors_origins)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        if req.method == "OPTIONS" and self._is_preflight(req):
            return
        error = self._access.authorize(req.method, req.path, req.auth)
        if error is not None:
            raise error

    def _is_preflight(self, req: falcon.Request) -> bool:
        """Tell whether a browser asks if a page may send a request. Of a key it says nothing, and it does nothing."""
        return "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in req.env and req.env.get("HTTP_ORIGIN") in self._cors_origins


def _answer_refusal(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    described = describe_error(error)
    render(req, resp, error_response(*described), described[0])
    retry_after = retry_after_s(error)
    if retry_after is not None:
        resp.set_header("Retry-After", str(retry_after))


def _answer_unreadable(req: falcon.Request, resp: falcon.Response, error: RequestError, _params: object) -> None:
    render(req, resp, error_response(error.status, error.code, str(error), error.field), error.status)
    resp.set_headers(error.headers)


_HTTP_CODES = {
    404: ("path_not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method: the Allow header lists those it does."),
}


def _answer_http_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object) -> None:
    code, message = _HTTP_CODES.get(
        error.status_code, ("bad_request", error.description or error.title or "The request cannot be read.")
    )
    render(req, resp, error_response(error.status_code, code, message), error.status_code)
    if error.headers:
        resp.set_headers(error.headers)


def _answer_bug(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    logger.error("%s %s failed", req.method, req.uri_template, exc_info=error)
    message = "WonderQ made a mistake. The log of the broker has the details; please report it."
    render(req, resp, error_response(500, "internal_error", message), 500)


class Home:
    """Sends whoever opens the broker's address in a browser to where it says what it is; SQS' clients post here."""

    def __init__(self, sqs: Endpoint) -> None:
        self.on_post = sqs.on_post

    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        raise falcon.HTTPFound("/docs")


def add_routes(
    app: falcon.App[falcon.Request, falcon.Response],
    broker: Broker,
    access: Access | None = None,
    sqs_limits: SqsLimits = STRICT,
) -> None:
    """Add all of the API. What is added here needs a rule in `wonderq.auth.access` too."""
    listing, health, endpoint = Listing(broker), Health(broker), sqs.Endpoint(broker, access, sqs_limits)
    for prefix in ("", "/queues/{queue}"):
        app.add_route(f"{prefix}/messages/produce", Produce(broker))
        app.add_route(f"{prefix}/messages/consume", Consume(broker))
        app.add_route(f"{prefix}/messages/delete", DeleteBatch(broker, access))
        app.add_route(f"{prefix}/messages/update", UpdateBatch(broker, access))
        app.add_route(f"{prefix}/messages/kick", Kick(broker))
        app.add_route(f"{prefix}/messages/hand-over", HandOver(broker, access))
        app.add_route(f"{prefix}/messages/{{message_id}}", MessageResource(broker, access))
        app.add_route(f"{prefix}/dev/messages", listing)
        app.add_route(f"{prefix}/dev/messages/status", listing, suffix="status")
        app.add_route(f"{prefix}/dev/messages/count", Count(broker))
    app.add_route("/queues", Queues(broker, access))
    app.add_route("/queues/{queue}", QueueResource(broker, access))
    app.add_route("/queues/{queue}/purge", Purge(broker))
    app.add_route("/healthz", health)
    app.add_route("/readyz", health, suffix="ready")
    app.add_route(sqs.ROOT, Home(endpoint))
    app.add_route(sqs.QUEUE, endpoint)
    app.add_route("/docs", Page(page.as_html(), falcon.MEDIA_HTML, page.HEADERS))
    app.add_route("/openapi.json", Page(document.as_json(), JSON))
