"""The WSGI application: its routes, its middleware, and the one place where errors become responses.

This is the composition root of everything that speaks HTTP; `wonderq.serve` is that of the process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import falcon
import msgspec
from prometheus_client import CollectorRegistry

from wonderq import __version__
from wonderq.auth.access import Access
from wonderq.auth.roles import SNS_CERTIFICATE, SQS_ADDRESSES, UI_CLUSTER_PAGE, UI_PAGES
from wonderq.auth.sessions import credential
from wonderq.broker.broker import Broker
from wonderq.httpd import counters
from wonderq.httpd.addresses import PublicAddress, TrustedHosts, may_be_of_other_site
from wonderq.httpd.errors import JSON, RequestError, error_response
from wonderq.httpd.forwarded import COUNTED
from wonderq.httpd.responses import ROUTE
from wonderq.httpd.room import LARGE_RESPONSE_BYTES, RESPONSE_SHARE, whole_body
from wonderq.metrics import Metrics, make_registry
from wonderq.model.errors import BrokerError
from wonderq.model.masks import Mask
from wonderq.openapi import document, page
from wonderq.rest.bodies import render
from wonderq.rest.broker import BrokerResource, SettingInForce
from wonderq.rest.errors import STORAGE_CODES, describe_error, retry_after_s
from wonderq.rest.health import Health, StandByHealth, Standing
from wonderq.rest.listing import Count, Listing, Search, SearchAll
from wonderq.rest.masks import MASK
from wonderq.rest.messages import Consume, DeleteBatch, HandOver, Kick, MessageResource, Next, Produce, UpdateBatch
from wonderq.rest.overview import READ_ONLY, Overview, OverviewHistory, QueueHistory, Vitals
from wonderq.rest.queues import Purge, QueueCollection, QueueResource
from wonderq.rest.redrive import AllRedrives, Move, RedriveCollection, RedriveResource
from wonderq.rest.schedules import CronTimes, ScheduleCollection, ScheduleResource
from wonderq.rest.session import Session
from wonderq.rest.static_files import StaticFile, StaticPage
from wonderq.rest.topics import (
    MatchResource,
    Publish,
    SubscriptionCollection,
    SubscriptionResource,
    TopicCollection,
    TopicResource,
)
from wonderq.sns.endpoint import SnsEndpoint, confirms_subscription, is_for_sns
from wonderq.sns.limits import STRICT as SNS_STRICT
from wonderq.sns.limits import SnsLimits
from wonderq.sns.signing import Signer
from wonderq.sqs import refusals
from wonderq.sqs.endpoint import SqsEndpoint
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.ui import site

logger = logging.getLogger("wonderq.http")
ui_logger = logging.getLogger("wonderq.ui")

App = falcon.App[falcon.Request, falcon.Response]

_UNKNOWN_HOST = (
    "The Host header names another machine. Use localhost or 127.0.0.1, or start the broker with that name in --hosts."
)

_OF_OTHER_SITE = "The request comes from a web page of another site. List its origin in --cors-origins to allow it."
_MAY_BE_OF_OTHER_SITE = (
    "A web browser sent this GET request, which claims messages, and does not state that it is from a page of this "
    "broker. Send it as POST."
)

#: Paths of a POST that changes nothing: those of the route ``/topics/{topic}/match``.
_MATCH = re.compile("/topics/[^/]+/match")

#: End of the paths whose GET claims messages.
_CONSUME = "/messages/consume"

#: Header of the requests of the dashboard, in a WSGI environment.
_OF_UI = "HTTP_X_WONDERQ_UI"

#: Response headers that a page of a trusted origin may read.
EXPOSED = ("Retry-After", "WWW-Authenticate", "X-Request-Id")


def create_app(
    broker: Broker,
    access: Access | None = None,
    registry: CollectorRegistry | None = None,
    *,
    hosts: TrustedHosts | None = None,
    cors_origins: Collection[str] = (),
    sqs_limits: SqsLimits = STRICT,
    sns_limits: SnsLimits = SNS_STRICT,
    signer: Signer | None = None,
    address: PublicAddress | None = None,
    vitals: Callable[[], Vitals] = lambda: Vitals(__version__),
    ui: str = "on",
    mask: Mask | None = None,
    settings: Sequence[SettingInForce] = (),
    has_documentation: bool = True,
) -> App:
    """Return a WSGI application that serves ``broker``. It holds no state of its own.

    Without ``access`` it serves everybody. ``registry`` holds the metrics to show; by default, those of the broker.
    While the broker has no keys, requests must name one of the ``hosts``, if given. Web pages of the ``cors_origins``
    may call it; pages of other sites may not. ``sqs_limits`` and ``sns_limits`` are the limits of the SQS and SNS
    endpoints, ``address`` is that in URLs, and ``signer`` signs the envelopes of published messages. ``vitals`` tells
    what only the process knows. ``ui`` is whether there is a dashboard, and whether it may only read; see
    `wonderq.config`. ``mask`` hides parts of the messages that it shows, and ``settings`` are those of the process. The
    description of the API takes a tenth of a second to make: an application behind that of a node has none.
    """
    dashboard = None if ui == "off" else UiRequests(access, mask, is_read_only=ui == "read-only")
    middleware: list[Any] = [OriginMiddleware(cors_origins, hosts, access, dashboard)]
    if cors_origins:
        middleware.insert(0, falcon.CORSMiddleware(allow_origins=cors_origins, expose_headers=EXPOSED))
    if access is None:
        app: App = falcon.App(middleware=middleware)
    else:
        app = falcon.App(middleware=[*middleware, AuthMiddleware(access, cors_origins)], router=access.router)
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    prepare(app)
    broker_errors: list[type[Exception]] = [BrokerError, *STORAGE_CODES]
    for kind in broker_errors:
        app.add_error_handler(kind, _respond_to_broker_error)
    sqs = SqsEndpoint(broker, access, sqs_limits, address)
    sns = SnsEndpoint(broker, access, sns_limits, address, signer)
    add_routes(app, broker, registry or make_registry(broker), access, sqs, sns, vitals)
    app.add_route("/overview/broker", BrokerResource(broker, access, vitals, settings))
    if has_documentation:
        add_documentation(app, has_dashboard=ui != "off")
    if ui != "off":
        add_dashboard(app)
        app.add_route("/ui/session", Session(broker, access, address or PublicAddress()))
    return app


def create_stand_by_app(
    access: Access,
    registry: CollectorRegistry,
    standing: Callable[[], Standing],
    *,
    hosts: TrustedHosts | None = None,
    cors_origins: Collection[str] = (),
    ui: str = "on",
) -> App:
    """Return a WSGI application for a process that has no broker at present; ``standing`` tells why.

    It answers the health checks and the metrics, has the documentation and the pages of the dashboard, and refuses
    everything else. ``access`` must be one of its own, because it has other routes. It shares with `create_app` the
    parts that take long to make, so that a broker is served soon after a takeover.
    """
    app: App = falcon.App(middleware=[OriginMiddleware(cors_origins, hosts, access, None)], router=access.router)
    prepare(app)
    health = StandByHealth(standing)
    app.add_route("/healthz", health)
    app.add_route("/readyz", health, suffix="ready")
    app.add_route("/metrics", StandByMetrics(registry, access))

    def refuse(req: falcon.Request, resp: falcon.Response, **_: str) -> None:  # noqa: ARG001
        raise standing().refusal()

    app.add_sink(refuse, "/")
    add_documentation(app, has_dashboard=ui != "off")
    if ui != "off":
        add_dashboard(app)
    return app


def prepare(app: App) -> None:
    """Set what every application has in common: paths count as they are, and each error has a response."""
    app.req_options.strip_url_path_trailing_slash = False
    app.add_error_handler(RequestError, respond_to_request_error)
    app.add_error_handler(Exception, _respond_to_bug)
    app.add_error_handler(falcon.HTTPError, _respond_to_http_error)


class StandByMetrics(Metrics):
    """The metrics of a process without a broker, with their own check of the key.

    The other requests need no valid key: an SQS client would take a refusal of its key for final.
    """

    def __init__(self, registry: CollectorRegistry, access: Access) -> None:
        super().__init__(registry)
        self._access = access

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        error = self._access.authorize(req.method, req.path, req.auth)
        if error is not None:
            raise error
        super().on_get(req, resp)


class OriginMiddleware:
    """Reject requests from web pages of other sites, and requests for an unknown host name; see `TrustedHosts`.

    Without API keys the broker authenticates nobody, so a web page could otherwise use it through the browser of a
    user who can reach it. One class does both checks, passes on the requests of the dashboard, and records the matched
    route for the server's metrics, because each middleware costs every request about a microsecond.
    """

    def __init__(
        self,
        cors_origins: Collection[str],
        hosts: TrustedHosts | None,
        access: Access | None,
        dashboard: UiRequests | None,
    ) -> None:
        self._cors_origins = frozenset(cors_origins)
        self._hosts = hosts
        self._access = access
        self._dashboard = dashboard

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        env = req.env
        origin = env.get("HTTP_ORIGIN")
        if origin not in self._cors_origins:
            foreign = origin is not None and origin.partition("://")[2] != req.netloc
            from_elsewhere = env.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site")
            if foreign or (from_elsewhere and not _follows_link(req)):
                raise RequestError(403, "cross_site_request", _OF_OTHER_SITE)
        if self._hosts is not None:
            host = env.get("HTTP_HOST")  # every browser sends it
            if host is not None and not self._hosts.accept(host) and self._is_open():
                raise RequestError(421, "unknown_host", _UNKNOWN_HOST)
        if req.method == "GET" and req.path.endswith(_CONSUME) and may_be_of_other_site(env) and self._is_open():
            raise RequestError(403, "cross_site_request", _MAY_BE_OF_OTHER_SITE)
        if _OF_UI in env and self._dashboard is not None:
            self._dashboard.admit(req)

    def _is_open(self) -> bool:
        return self._access is None or self._access.open_to_all

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _ok: bool) -> None:
        req.env[ROUTE] = req.uri_template
        if resp.data is not None and len(resp.data) > LARGE_RESPONSE_BYTES and RESPONSE_SHARE in req.env:
            try:
                req.env[RESPONSE_SHARE].fit(len(resp.data))
            except RequestError as error:
                respond_to_request_error(req, resp, error, None)
        if _OF_UI in req.env and self._dashboard is not None:
            self._dashboard.log(req, resp)


def _follows_link(req: falcon.Request) -> bool:
    """Return whether a user follows a link from another site, such as a chat, to a page that shows nothing by itself.

    The page then makes its requests as a page of the broker. It cannot be shown in a frame. The only action that a link
    may call is that of a mail to confirm a subscription: the token in it is a key.
    """
    path, env = req.path, req.env
    is_page = path in ("/docs", "/ui") or path.startswith("/ui/")
    if path == "/":
        is_page = not _calls_action(req) or confirms_subscription(req)
    return (
        is_page
        and req.method == "GET"
        and env.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and env.get("HTTP_SEC_FETCH_DEST") == "document"
    )


class UiRequests:
    """Gives the requests of the dashboard the key of their session and their mask, and logs what they change.

    Requests of the dashboard have a header that no page of another site can send. In a read-only dashboard they change
    nothing, whatever the key permits.
    """

    def __init__(self, access: Access | None, mask: Mask | None, *, is_read_only: bool) -> None:
        self._access = access
        self._mask = mask
        self._is_read_only = is_read_only

    def admit(self, req: falcon.Request) -> None:
        """Give a request the key of its session, and the mask.

        Raises:
            RequestError: it may not change anything.
        """
        env = req.env
        if self._mask is not None:
            env[MASK] = self._mask
        if "HTTP_AUTHORIZATION" not in env:
            session = credential(lambda name: env.get(f"HTTP_{name}"))
            if session is not None:
                env["HTTP_AUTHORIZATION"] = session
        env[READ_ONLY] = self._is_read_only
        if self._is_read_only and not _only_reads(req) and req.path != "/ui/session":
            raise RequestError(403, "read_only", "The dashboard of this broker may only read. Use the API instead.")

    def log(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log a request that may have changed something."""
        if _only_reads(req):
            return
        key = None if self._access is None else self._access.find(req.auth)
        name = "nobody" if key is None else key.id
        fields = {
            "method": req.method,
            "path": req.path,
            "status": resp.status_code,
            "key": name,
            "address": req.remote_addr,
        }
        text = "%s %s: %s, with the key %s from %s"
        messages = _messages_changed(resp)
        if messages is not None:
            fields["messages"] = messages
            text += ", messages: %d"
        ui_logger.info(text, *fields.values(), extra={"fields": fields})


def _only_reads(req: falcon.Request) -> bool:
    """Return whether a request cannot change anything. Actions of SQS and SNS never count as reads."""
    path = req.path
    if req.method == "POST":
        return _MATCH.fullmatch(path) is not None
    if req.method not in ("GET", "HEAD"):
        return False
    return not (path.endswith(_CONSUME) or refusals.is_address(path) or (path == "/" and _calls_action(req)))


def _calls_action(req: falcon.Request) -> bool:
    """Return whether a GET of ``/`` calls an action of SQS or SNS. Any other asks for a page."""
    is_signed = (req.auth or "").startswith("AWS")
    return is_signed or "Action=" in req.query_string or "X-Amz-" in req.query_string


def _messages_changed(resp: falcon.Response) -> int | None:
    """Return the number of messages that an action changed, or None if its response does not have it."""
    if resp.status_code >= 400 or resp.content_type != JSON or resp.data is None:
        return None
    value = msgspec.json.decode(resp.data)
    if not isinstance(value, dict):
        return None
    for name in ("deleted", "kicked"):
        if name in value:
            return int(value[name])
    results = value.get("results")
    if isinstance(results, list):
        return sum(bool(each.get("success", True)) for each in results)  # those of a publish are all successes
    return len(value["ids"]) if "ids" in value else None


class AuthMiddleware:
    """Reject requests that their key does not permit, before their body is read."""

    def __init__(self, access: Access, cors_origins: Collection[str]) -> None:
        self._access = access
        self._cors_origins = frozenset(cors_origins)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        if req.method == "OPTIONS" and self._is_preflight(req):
            return
        error = self._access.authorize(req.method, req.path, req.auth, is_counted=COUNTED in req.env)
        if error is not None:
            raise error
        req.env[COUNTED] = True

    def _is_preflight(self, req: falcon.Request) -> bool:
        """Return whether this is a CORS preflight: it carries no key and has no effect."""
        return "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in req.env and req.env.get("HTTP_ORIGIN") in self._cors_origins


def _respond_to_broker_error(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    described = describe_error(error)
    render(req, resp, error_response(*described), described[0])
    retry_after = retry_after_s(error)
    if retry_after is not None:
        resp.set_header("Retry-After", str(retry_after))


def respond_to_request_error(req: falcon.Request, resp: falcon.Response, error: RequestError, _params: object) -> None:
    """Set a response to an error, in the format of the client's protocol."""
    header = refusals.header_of(req.env)
    if refusals.is_for_sqs(req.method, req.path, header):
        status, resp.content_type, resp.data, headers = refusals.render(error, header)
        counters.refusals[error.code] += 1
        resp.status = status
        resp.set_headers(headers)
        return
    render(req, resp, error_response(error.status, error.code, str(error), error.field), error.status)
    resp.set_headers(error.headers)


_HTTP_CODES = {
    404: ("path_not_found", "The API has no such path. GET /docs lists the paths."),
    405: ("method_not_allowed", "This path does not support the method. The Allow header lists those it supports."),
}


def _respond_to_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: object
) -> None:
    code, message = _HTTP_CODES.get(
        error.status_code, ("bad_request", error.description or error.title or "The request is malformed.")
    )
    refusal = RequestError(error.status_code, code, message, headers=dict(error.headers or {}))
    respond_to_request_error(req, resp, refusal, _params)


def _respond_to_bug(req: falcon.Request, resp: falcon.Response, error: Exception, _params: object) -> None:
    logger.error("%s %s failed", req.method, req.uri_template, exc_info=error)
    message = "This is a bug in WonderQ. The broker's log has the details; please report it."
    respond_to_request_error(req, resp, RequestError(500, "internal_error", message), _params)


class Home:
    """``/``: serves clients of SQS and SNS, and redirects browsers to the documentation."""

    def __init__(self, sqs: SqsEndpoint, sns: SnsEndpoint) -> None:
        self._sqs = sqs
        self._sns = sns

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = whole_body(req.env)
        if is_for_sns(req, body):
            self._sns.respond(req, resp, body)
        else:
            self._sqs.respond(req, resp, "", body)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        if not _calls_action(req):
            raise falcon.HTTPFound("/docs")
        self.on_post(req, resp)


def add_routes(
    app: App,
    broker: Broker,
    registry: CollectorRegistry,
    access: Access | None,
    sqs: SqsEndpoint,
    sns: SnsEndpoint,
    vitals: Callable[[], Vitals],
) -> None:
    """Add every route.

    Each needs a rule in `wonderq.auth.roles.RULES`, or it is refused to every key, and a description in
    `wonderq.openapi.operations`. Tests hold the three tables together. They stay apart because they answer different
    questions in different packages, and because a forgotten rule must close a route, not open it.
    """
    listing, health = Listing(broker, access), Health(broker, access)
    for prefix in ("", "/queues/{queue}"):
        app.add_route(f"{prefix}/messages/produce", Produce(broker, access))
        app.add_route(f"{prefix}/messages/consume", Consume(broker, access))
        app.add_route(f"{prefix}/messages/next", Next(broker, access))
        app.add_route(f"{prefix}/messages/delete", DeleteBatch(broker, access))
        app.add_route(f"{prefix}/messages/update", UpdateBatch(broker, access))
        app.add_route(f"{prefix}/messages/kick", Kick(broker, access))
        app.add_route(f"{prefix}/messages/hand-over", HandOver(broker, access))
        app.add_route(f"{prefix}/messages/{{message_id}}", MessageResource(broker, access))
        app.add_route(f"{prefix}/dev/messages", listing)
        app.add_route(f"{prefix}/dev/messages/status", listing, suffix="status")
        app.add_route(f"{prefix}/dev/messages/search", Search(broker, access))
        app.add_route(f"{prefix}/dev/messages/count", Count(broker, access))
    app.add_route("/search", SearchAll(broker, access))
    app.add_route("/queues", QueueCollection(broker, access))
    app.add_route("/queues/{queue}", QueueResource(broker, access))
    app.add_route("/queues/{queue}/history", QueueHistory(broker, access))
    app.add_route("/queues/{queue}/purge", Purge(broker, access))
    app.add_route("/queues/{queue}/redrive", RedriveCollection(broker, access))
    app.add_route("/queues/{queue}/redrive/{redrive_id}", RedriveResource(broker, access))
    app.add_route("/queues/{queue}/redrive/messages", Move(broker, access))
    app.add_route("/redrives", AllRedrives(broker, access))
    app.add_route("/schedules", ScheduleCollection(broker, access))
    app.add_route("/schedules/{schedule}", ScheduleResource(broker, access))
    app.add_route("/cron/times", CronTimes(broker, access))
    app.add_route("/topics", TopicCollection(broker, access))
    app.add_route("/topics/{topic}", TopicResource(broker, access))
    app.add_route("/topics/{topic}/subscriptions", SubscriptionCollection(broker, access))
    app.add_route("/topics/{topic}/subscriptions/{subscription}", SubscriptionResource(broker, access))
    app.add_route("/topics/{topic}/publish", Publish(broker, access))
    app.add_route("/topics/{topic}/match", MatchResource(broker, access))
    app.add_route("/overview", Overview(broker, access, vitals))
    app.add_route("/overview/history", OverviewHistory(broker, access))
    app.add_route("/healthz", health)
    app.add_route("/readyz", health, suffix="ready")
    app.add_route("/metrics", Metrics(registry))
    app.add_route("/", Home(sqs, sns))
    app.add_route(SNS_CERTIFICATE, sns)
    for address in SQS_ADDRESSES:
        app.add_route(address, sqs)
    app.add_sink(sqs.serve_plain_name, "/")


def add_documentation(app: App, *, has_dashboard: bool, in_cluster: bool = False) -> None:
    """Add the routes of the description of the API."""
    html, openapi = _documentation(has_dashboard, in_cluster)
    app.add_route("/docs", StaticPage(html, page.HEADERS))
    app.add_route("/openapi.json", StaticPage(openapi))


def make_pages() -> None:
    """Make the description of the API and the files of the dashboard, which all applications share, and keep them.

    Otherwise the first application makes them. A process that forks brokers spares each of them the time.
    """
    _documentation(True, False)
    site.load()


@cache
def _documentation(has_dashboard: bool, in_cluster: bool) -> tuple[StaticFile, StaticFile]:
    html = page.as_html(has_dashboard=has_dashboard, in_cluster=in_cluster)
    return StaticFile(html, falcon.MEDIA_HTML), StaticFile(document.as_json(in_cluster=in_cluster), JSON)


def add_dashboard(app: App, *, is_of_cluster: bool = False) -> None:
    """Add the routes of the dashboard's pages. They call the API in the browser."""
    document, files = site.load()
    page = StaticPage(site.document_of_cluster() if is_of_cluster else document, site.HEADERS)
    for path in (*UI_PAGES, UI_CLUSTER_PAGE) if is_of_cluster else UI_PAGES:
        app.add_route(path, page)
    app.add_route("/ui/assets/{folder}/{file}", site.Assets(files))
