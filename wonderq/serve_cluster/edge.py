"""The application of a node, which answers for the queues of all nodes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from wonderq.auth.access import Access
from wonderq.auth.roles import CLUSTER_RULES, RULES
from wonderq.cluster.node import Node
from wonderq.cluster.resources import add_node_routes
from wonderq.edge_app import EdgeAssembly, EdgeSettings, create_edge
from wonderq.httpd.addresses import PublicAddress
from wonderq.serve import mask_of, sns_limits_of, sqs_limits_of, trusted_hosts
from wonderq.serve_cluster.parts import Parts
from wonderq_storage.nats import Connection


def make_edge(node: Node, requests: Connection, parts: Parts, registry: CollectorRegistry) -> EdgeAssembly:
    """Return the application of a node. The other nodes send their requests over the connection."""
    settings = parts.settings
    return create_edge(
        node,
        requests,
        f"wonderq.{node.cluster_id}",
        parts.apps.get,
        parts.access(CLUSTER_RULES),
        registry,
        add_own_routes=lambda app: add_node_routes(app, node, settings.limits),
        obstacle=node.obstacle,
        settings=EdgeSettings(
            limits=settings.limits,
            hosts=trusted_hosts(settings),
            cors_origins=settings.cors_origins,
            sqs_limits=sqs_limits_of(settings),
            sns_limits=sns_limits_of(settings),
            signer=parts.signer,
            address=PublicAddress(settings.public_url, settings.trusted_proxies),
            ui=settings.ui,
            mask=mask_of(settings),
        ),
    )


class _Anything:
    """Stands for a resource where only the paths count."""


def with_all_routes(access: Access) -> Access:
    """Return an access that knows all paths of the API, so that it can check requests before their shard is known."""
    for template in RULES:
        access.router.add_route(template, _Anything())
    return access
