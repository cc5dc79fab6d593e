"""`wonderq cluster start`: puts a node together from its parts, and runs it until a signal."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector

from wonderq import __version__
from wonderq.auth.keys import Keys, KeysError
from wonderq.cluster.charter import BUCKET
from wonderq.cluster.keys import SharedKeys
from wonderq.cluster.metrics import NodeCollector
from wonderq.cluster.node import Node
from wonderq.config import ClusterSettings, Settings
from wonderq.edge_app import EdgeAssembly
from wonderq.httpd.listening import url_of
from wonderq.httpd.server import Server
from wonderq.metrics import ServerCollector
from wonderq.runtime.collector import CollectorPauses
from wonderq.runtime.signals import Signals
from wonderq.serve import (
    StartError,
    announce,
    bind_addresses,
    check_file_limit,
    open_keys,
    start_server,
    validate,
)
from wonderq.serve_cluster.edge import make_edge, with_all_routes
from wonderq.serve_cluster.founding import charter_of
from wonderq.serve_cluster.nats_servers import await_nats, open_nats
from wonderq.serve_cluster.parts import ClusterPeers, Parts
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import JetStream
from wonderq_storage.nats.address import LogAddress

logger = logging.getLogger("wonderq")


def serve_cluster(
    cluster: ClusterSettings, settings: Settings, signals: Signals, sources: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Run a node of a cluster until SIGTERM or SIGINT, then give its shards to other nodes, and end.

    ``sources`` tells the dashboard where the settings come from; see `wonderq.config.in_force`.

    Raises:
        StartError: the settings, NATS, the key file or the address cannot be used, or the node fits no cluster.
        StopRequested: one of the signals arrived during the start. Everything is closed.
    """
    with node_of(cluster, settings, sources) as (node, edge, server, keys, reload):
        logger.info("%d keys in %s%s", keys.count, keys.path, "" if keys.required else ": every request is permitted")
        logger.info("listening on %s", " and ".join(server.urls))

        def drain_and_stop() -> None:
            node.drain()
            server.stop()

        def stop_waiting() -> None:
            edge.stop_waiting()
            node.stop_claiming()

        def stop() -> None:
            threading.Thread(target=drain_and_stop, name="wonderq-drain", daemon=True).start()

        signals.ready(stop, reload)
        announce(
            f"wonderq node {node.node} of the cluster {node.cluster_id} listening on {server.url} "
            f"({node.count} shards, pid {os.getpid()})"
        )
        node.start()
        server.run(on_stop=stop_waiting, is_busy=lambda: edge.receiver.is_busy)
    logger.info("stopped cleanly")


class NodeAssembly(NamedTuple):
    """The parts of a node. It hears nobody yet, and its server listens without serving."""

    node: Node
    edge: EdgeAssembly
    server: Server
    keys: Keys
    reload: Callable[[], None]
    """Reads the keys and the certificates again."""


@contextmanager
def node_of(
    cluster: ClusterSettings, settings: Settings, sources: Mapping[str, str] = MappingProxyType({})
) -> Iterator[NodeAssembly]:
    """Put a node together, and take it apart at the end of the ``with`` block.

    Raises:
        StartError: see `serve_cluster`.
    """
    check_settings(cluster, settings)
    check_file_limit(settings)
    with ExitStack() as stack:
        sockets = bind_addresses(settings)
        for each in sockets:
            stack.callback(each.close)
        nats = open_nats(cluster, settings, stack)
        jetstream = JetStream(nats.connect(f"wonderq {cluster.name}"))
        stack.callback(jetstream.connection.close)
        await_nats(jetstream)
        values = JetStreamValues(jetstream, BUCKET)
        charter = charter_of(cluster, settings, jetstream, values)
        shared_keys = SharedKeys(values, settings.keys_file, settings.data)
        begin_with_keys(shared_keys)
        keys = open_keys(settings)
        # The server reads this connection. What its thread waits for must come over the other one.
        requests = nats.connect(f"wonderq {cluster.name} requests")
        parts = Parts(settings, sources, keys, jetstream, JetStream(requests), nats.servers, charter, cluster.name)
        stack.callback(parts.rounds.close)
        stack.callback(parts.crossing_rounds.close)
        stack.callback(parts.link_rounds.close)
        # Closed before the rounds, which would wait for answers to what they have sent.
        stack.callback(requests.close)
        url = url_of_node(cluster, settings, sockets[0].getsockname()[1])
        node = Node(
            cluster.name,
            charter,
            ClusterPeers(jetstream, charter),
            values,
            parts.own,
            url=url,
            version=__version__,
            follow=shared_keys.sync,
        )
        registry = CollectorRegistry()
        edge = make_edge(node, requests, parts, registry)
        stack.callback(edge.stop)
        parts.carrier = edge.carrier
        server = parts.server = start_server(edge.edge, with_all_routes(parts.access()), settings, sockets)
        edge.receiver.start(server)
        requests.read_on(server)
        ProcessCollector(registry=registry)
        registry.register(NodeCollector(node))
        registry.register(ServerCollector(server, settings.connections))
        registry.register(edge.collector)
        pauses = CollectorPauses(lambda: sum(each.long_lived_objects for each in parts.apps))
        pauses.start()
        stack.callback(pauses.stop)
        stack.callback(node.stop)

        def reload() -> None:
            keys.reload()
            nats.reload_certificates()

        yield NodeAssembly(node, edge, server, keys, reload)


def begin_with_keys(keys: SharedKeys) -> None:
    """Get the keys of the cluster.

    Raises:
        StartError: this node cannot read or store them.
    """
    try:
        keys.begin()
    except KeysError as error:
        raise StartError(
            f"{error}. A node does not start without the keys of its cluster, because everybody could use it."
        ) from error


def check_settings(cluster: ClusterSettings, settings: Settings) -> None:
    """Check the settings against each other.

    Raises:
        StartError: two settings contradict each other, or one is missing.
    """
    if not cluster.name:
        raise StartError("the node has no name. Set --name, such as --name a")
    names = [each.name for each in cluster.peers]
    if cluster.nats_url is None and cluster.name not in names:
        raise StartError(
            f"--peers has no {cluster.name}, which is the name of this node, but {', '.join(names) or 'nobody'}. List "
            "all nodes, this one included, such as --peers a=10.0.0.1,b=10.0.0.2,c=10.0.0.3"
        )
    validate(replace(settings, log=LogAddress((), "x"), replicas=cluster.replicas))
    servers = len(cluster.nats_url or cluster.peers)
    if cluster.replicas is not None and cluster.replicas > servers:
        raise StartError(f"--replicas is {cluster.replicas}, and there are only {servers} NATS servers. Set fewer.")


def url_of_node(cluster: ClusterSettings, settings: Settings, port: int) -> str:
    """Return the address that a node announces. One that listens on all addresses is known as its peers know it."""
    host = settings.listen[0]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - nothing is bound here
        host = next((each.host for each in cluster.peers if each.name == cluster.name), host)
    return settings.public_url or url_of((host, port))
