"""The application of a node of a cluster, put together: its routes, and the parts that pass requests on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import falcon
from prometheus_client import CollectorRegistry

from wonderq.app import (
    EXPOSED,
    App,
    AuthMiddleware,
    Home,
    OriginMiddleware,
    UiRequests,
    add_dashboard,
    add_documentation,
    prepare,
    respond_to_request_error,
)
from wonderq.auth.access import Access
from wonderq.auth.roles import RULES, SNS_CERTIFICATE, SQS_ADDRESSES, UI_PAGES
from wonderq.broker.broker import Broker
from wonderq.cluster import listings, overviews, routing
from wonderq.cluster.applications import Applications, AppOf, Obstacle, no_obstacle
from wonderq.cluster.carrying import RETRY_S, Carrier
from wonderq.cluster.edge import Edge, Forwarding, ShardRefusal, respond, take_unknown_outcome
from wonderq.cluster.endpoints import AwsForwarding, EdgeBroker
from wonderq.cluster.forwarding import ANSWER_S, Forwarder
from wonderq.cluster.forwarding_metrics import ForwardingCollector
from wonderq.cluster.receiving import Receiver
from wonderq.cluster.shards import Shards
from wonderq.httpd.addresses import PublicAddress, TrustedHosts
from wonderq.httpd.errors import RequestError
from wonderq.httpd.room import whole_body
from wonderq.metrics import Metrics
from wonderq.model.limits import Limits
from wonderq.model.masks import Mask
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest.session import Session
from wonderq.sns.endpoint import SnsEndpoint
from wonderq.sns.limits import STRICT as SNS_STRICT
from wonderq.sns.limits import SnsLimits
from wonderq.sns.signing import Signer
from wonderq.sqs.endpoint import SqsEndpoint
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.sqs.refusals import header_of, is_for_sqs
from wonderq_storage.nats import Connection

#: Header of a response that another node has given, with the address of that node.
OWNER = "WonderQ-Owner"

#: Routes with an answer of their own on the edge. All others of `RULES` go to the shard of the name in their path.
_OWN_ROUTES = {
    *("/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/ui/session", "/ui/assets/{folder}/{file}"),
    *("/queues", "/topics", "/schedules", "/redrives", "/search", "/dev/messages", "/dev/messages/status"),
    *("/queues/{queue}/dev/messages", "/queues/{queue}/dev/messages/status"),
    *("/overview", "/overview/history", "/overview/broker"),
    *UI_PAGES,
    *SQS_ADDRESSES,
    SNS_CERTIFICATE,
}


class EdgeSettings(NamedTuple):
    """Settings of a node's application; see `wonderq.app.create_app`."""

    limits: Limits = Limits()
    hosts: TrustedHosts | None = None
    cors_origins: Collection[str] = ()
    sqs_limits: SqsLimits = STRICT
    sns_limits: SnsLimits = SNS_STRICT
    signer: Signer | None = None
    address: PublicAddress | None = None
    ui: str = "on"
    mask: Mask | None = None
    retry_s: float = RETRY_S
    """Time in which a request is tried again that was surely not carried out."""
    answer_s: float = ANSWER_S
    """Longest wait for the response of another node, besides the longest ``wait`` of a request."""


class EdgeAssembly(NamedTuple):
    """The application of a node, and its parts."""

    edge: Edge
    """The WSGI application."""
    carrier: Carrier
    """Carries out requests of the node itself, such as those of background work, too."""
    collector: ForwardingCollector
    """The metrics of forwarding, for a registry of the node."""
    receiver: Receiver
    """Carries out the requests of other nodes. Start it with the server, on whose fibers it does that."""
    stop_waiting: Callable[[], None]
    """Lets the other nodes answer the polls that wait there, because the process is about to end."""
    stop: Callable[[], None]
    """Ends the calls of `Shards.changed`."""


def create_edge(
    shards: Shards,
    connection: Connection,
    prefix: str,
    app_of: AppOf,
    access: Access | None = None,
    registry: CollectorRegistry | None = None,
    *,
    add_own_routes: Callable[[App], None] = lambda _: None,
    obstacle: Obstacle = no_obstacle,
    settings: EdgeSettings = EdgeSettings(),  # noqa: B008 - it is not mutable
) -> EdgeAssembly:
    """Return the application of a node, which answers each request whatever node owns the queue.

    ``connection`` is best one of its own, so that requests do not wait for appends. ``prefix`` begins the subjects of
    the cluster. ``app_of`` returns the application of the broker of a shard, such as that of `wonderq.app.create_app`
    with the settings of this process. ``add_own_routes`` adds the paths that the node answers by itself, such as its
    health checks. Requests of a shard with an ``obstacle`` are refused at once.
    """
    is_read_only = settings.ui == "read-only"
    apps = Applications(shards, app_of, access, mask=settings.mask, is_read_only=is_read_only, obstacle=obstacle)
    forwarder = Forwarder(connection, prefix, shards, wait_s=settings.limits.wait_s, answer_s=settings.answer_s)
    carrier = Carrier(shards, apps, forwarder, retry_s=settings.retry_s, obstacle=obstacle)
    own_access = None if access is None else access.with_own_router()
    forwarding = Forwarding(shards.count, carrier, own_access, settings.address or PublicAddress())
    app = _create_app(forwarding, own_access, registry or CollectorRegistry(), settings)
    add_own_routes(app)
    receiver = Receiver(connection, prefix, shards.node, apps, token=shards.token)

    def stop() -> None:
        for each in (apps, forwarder, carrier):
            each.stop()

    collector = ForwardingCollector(forwarder)
    return EdgeAssembly(Edge(shards.count, apps, app), carrier, collector, receiver, forwarder.stop_waiting, stop)


def _create_app(
    forwarding: Forwarding, access: Access | None, registry: CollectorRegistry, settings: EdgeSettings
) -> App:
    dashboard = None
    if settings.ui != "off":
        dashboard = UiRequests(access, settings.mask, is_read_only=settings.ui == "read-only")
    origins = settings.cors_origins
    middleware: list[Any] = [_FirstOutcomes(), OriginMiddleware(origins, settings.hosts, access, dashboard)]
    if origins:
        middleware.insert(0, falcon.CORSMiddleware(allow_origins=origins, expose_headers=EXPOSED))
    if access is None:
        app: App = falcon.App(middleware=middleware)
    else:
        app = falcon.App(middleware=[*middleware, AuthMiddleware(access, origins)], router=access.router)
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    prepare(app)
    app.add_error_handler(ShardRefusal, _respond_to_refusal)
    _add_routes(app, forwarding, registry)
    broker = EdgeBroker(forwarding, settings.limits).as_broker()
    _add_aws(app, forwarding, broker, access, settings)
    add_documentation(app, has_dashboard=settings.ui != "off", in_cluster=True)
    if settings.ui != "off":
        add_dashboard(app, is_of_cluster=True)
        app.add_route("/ui/session", Session(broker, access, settings.address or PublicAddress()))
    return app


class _FirstOutcomes:
    """Middleware that responds with the unknown outcome of a first try instead of the refusal of a later one."""

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _ok: bool) -> None:
        error = take_unknown_outcome(req.env)
        if error is not None:
            respond_to_request_error(req, resp, error, None)


def _respond_to_refusal(req: falcon.Request, resp: falcon.Response, error: ShardRefusal, params: object) -> None:
    """Set the response to that of the shard, which is one of the REST API, or to an error that SDKs read and repeat."""
    if is_for_sqs(req.method, req.path, header_of(req.env)):
        respond_to_request_error(req, resp, RequestError(503, error.code, str(error)), params)
    else:
        respond(req, resp, error.response)


def _add_routes(app: App, forwarding: Forwarding, registry: CollectorRegistry) -> None:
    messages = listings.Messages(forwarding)
    for prefix in ("", "/queues/{queue}"):
        app.add_route(f"{prefix}/dev/messages", messages)
        app.add_route(f"{prefix}/dev/messages/status", messages, suffix="status")
    app.add_route("/queues", listings.Queues(forwarding))
    app.add_route("/topics", listings.Topics(forwarding))
    app.add_route("/schedules", listings.Schedules(forwarding))
    app.add_route("/redrives", listings.Redrives(forwarding))
    app.add_route("/search", listings.SearchAll(forwarding))
    app.add_route("/overview", overviews.Overview(forwarding))
    app.add_route("/overview/history", overviews.OverviewHistory(forwarding))
    app.add_route("/overview/broker", overviews.BrokerResource(forwarding))
    app.add_route("/metrics", Metrics(registry))
    for path, methods in RULES.items():
        if path not in _OWN_ROUTES:
            app.add_route(path, PassedOn(forwarding, methods))


def _add_aws(app: App, forwarding: Forwarding, broker: Broker, access: Access | None, settings: EdgeSettings) -> None:
    aws = AwsForwarding(forwarding)
    sqs = SqsEndpoint(broker, access, settings.sqs_limits, settings.address, aws.sqs)
    sns = SnsEndpoint(broker, access, settings.sns_limits, settings.address, settings.signer, aws.sns)
    app.add_route("/", Home(sqs, sns))
    app.add_route(SNS_CERTIFICATE, sns)
    for address in SQS_ADDRESSES:
        app.add_route(address, sqs)
    app.add_sink(sqs.serve_plain_name, "/")


class PassedOn:
    """Calls of the REST API that one shard answers."""

    def __init__(self, forwarding: Forwarding, methods: Collection[str]) -> None:
        self._forwarding = forwarding
        for each in methods:
            setattr(self, f"on_{each.lower()}", self._respond)

    def _respond(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        body = whole_body(req.env)
        request = self._forwarding.request_of(req, self._forwarding.key_of(req), body)
        name = routing.name_in_path(req.method, req.path)
        if name is None and routing.names_queues_in_body(req.method, req.path):
            name = routing.first_source(req.content_type or "", body)
        shard = self._forwarding.shard_of(name or DEFAULT_QUEUE)

        def is_repeatable() -> bool:
            return routing.is_repeatable(req.method, req.path, request.headers, body)

        response = self._forwarding.ask(req, shard, request, is_repeatable)
        respond(req, resp, response)
        if response.owner_url:
            resp.set_header(OWNER, response.owner_url)
