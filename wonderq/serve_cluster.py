"""`wonderq cluster start`: a node of a cluster. It runs a broker for each shard that it owns."""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry, ProcessCollector

from wonderq import __version__
from wonderq.app import App
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import CLUSTER_RULES, RULES
from wonderq.auth.sessions import Sessions
from wonderq.broker.background import Rounds
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.cluster.carrying import Carrier
from wonderq.cluster.charter import BUCKET, Charter, CharterError, Wanted, Wishes, join
from wonderq.cluster.crosser import Crosser
from wonderq.cluster.crossing_metrics import CrossingCollector
from wonderq.cluster.dead_letter_links import DeadLetterLinks
from wonderq.cluster.keys import SharedKeys
from wonderq.cluster.metrics import NodeCollector
from wonderq.cluster.node import Node
from wonderq.cluster.other_shards import RemoteShards
from wonderq.cluster.resources import add_node_routes
from wonderq.cluster.shard import OwnedShard, Shard
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster_tools.backup import read_manifest
from wonderq.cluster_tools.restore import NewCluster, Restored, check_can_restore, find_backup, restore
from wonderq.config import ClusterSettings, Settings
from wonderq.edge_app import EdgeAssembly, EdgeSettings, create_edge
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.listening import url_of
from wonderq.httpd.server import Server
from wonderq.metrics import BrokerCollector, LogCollector, LogCounters, ProcessVitals, ServerCollector, make_registry
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.runtime.collector import CollectorPauses
from wonderq.runtime.signals import Signals
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.serve import (
    Sharing,
    StartError,
    announce,
    bind_addresses,
    check_file_limit,
    make_app,
    mask_of,
    open_keys,
    open_log,
    run_push,
    sns_limits_of,
    sqs_limits_of,
    start_server,
    trusted_hosts,
    validate,
)
from wonderq.serve_shared import TakeoverClock
from wonderq.sns.signing import KEY_FILE, Signer
from wonderq_storage import SharedLog, StorageError
from wonderq_storage.jetstream_peers import JetStreamPeers, Look
from wonderq_storage.jetstream_stream import check_servers
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import Connection, JetStream, NatsError
from wonderq_storage.nats.address import Address, LogAddress
from wonderq_storage.nats.child_server import ChildServer
from wonderq_storage.nats.local_servers import find_program
from wonderq_storage.nats.tls_files import TlsFiles

logger = logging.getLogger("wonderq")

#: Shards of a cluster whose settings leave that open.
DEFAULT_SHARDS = 16

#: Subject on which the nodes find each other before their cluster is made.
_FOUNDING = "wonderq.founding"

_FOUNDING_INTERVAL_S = 0.2

#: Interval at which a start tells what it waits for.
_TELL_S = 10.0

_CALL_S = 2.0

#: Repetitions of a call of a shard's log end after this time.
_PATIENCE_S = 30.0


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


def restore_cluster(
    cluster: ClusterSettings, settings: Settings, backup: Path, progress: Callable[[int], object] = lambda _: None
) -> Restored:
    """Make a cluster with the contents of a backup, and end. The settings are those with which a node starts.

    Without servers of its own, the cluster's other nodes must be starting: they wait for the charter.

    Raises:
        StartError: the settings or NATS cannot be used.
        ClusterToolError, StorageError: see `wonderq.cluster_tools.restore.restore`.
    """
    _check(cluster, settings)
    backup = find_backup(backup)
    servers = len(cluster.nats_url or cluster.peers)
    replicas = cluster.replicas or _default_replicas(servers)
    wanted = NewCluster(cluster.shards, replicas, settings.log_bytes)
    with ExitStack() as stack:
        jetstream = JetStream(_nats(cluster, settings, stack).connect(f"wonderq {cluster.name}"))
        stack.callback(jetstream.connection.close)
        _await_nats(jetstream)
        values = JetStreamValues(jetstream, BUCKET)
        check_can_restore(jetstream, values, read_manifest(backup), wanted)
        # This node keeps silent, so that the others do not make an empty cluster.
        _Founding(cluster, jetstream).hear_all(lambda: False)
        return restore(jetstream, values, backup, wanted, progress)


def _default_replicas(servers: int) -> int:
    return 3 if servers >= 3 else 1


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
    _check(cluster, settings)
    check_file_limit(settings)
    with ExitStack() as stack:
        sockets = bind_addresses(settings)
        for each in sockets:
            stack.callback(each.close)
        nats = _nats(cluster, settings, stack)
        jetstream = JetStream(nats.connect(f"wonderq {cluster.name}"))
        stack.callback(jetstream.connection.close)
        _await_nats(jetstream)
        values = JetStreamValues(jetstream, BUCKET)
        charter = _charter(cluster, settings, jetstream, values)
        shared_keys = SharedKeys(values, settings.keys_file, settings.data)
        shared_keys.begin()
        keys = open_keys(settings)
        # The server reads this connection. What its thread waits for must come over the other one.
        requests = nats.connect(f"wonderq {cluster.name} requests")
        parts = _Parts(settings, sources, keys, jetstream, JetStream(requests), nats.servers, charter, cluster.name)
        stack.callback(parts.rounds.close)
        stack.callback(parts.crossing_rounds.close)
        stack.callback(parts.link_rounds.close)
        # Closed before the rounds, which would wait for answers to what they have sent.
        stack.callback(requests.close)
        url = url_of_node(cluster, settings, sockets[0].getsockname()[1])
        node = Node(
            cluster.name,
            charter,
            _ClusterPeers(jetstream, charter),
            values,
            parts.own,
            url=url,
            version=__version__,
            follow=shared_keys.sync,
        )
        registry = CollectorRegistry()
        edge = _edge(node, requests, parts, registry)
        stack.callback(edge.stop)
        parts.carrier = edge.carrier
        server = parts.server = start_server(edge.edge, _routed(parts.access()), settings, sockets)
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


def _check(cluster: ClusterSettings, settings: Settings) -> None:
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


class _Nats(NamedTuple):
    """The NATS servers that this node uses."""

    servers: list[Address]
    context: ssl.SSLContext | None
    """What a connection must prove, and check; None without files for that."""
    reload: Callable[[], None]

    def connect(self, name: str) -> Connection:
        return Connection(self.servers, tls=self.context, name=name)

    def reload_certificates(self) -> None:
        """Read the certificates again. If they cannot be used, the former ones stay."""
        try:
            self.reload()
        except OSError as error:
            logger.error("the certificates were not read again: %s", error)  # noqa: TRY400 - the user must act


def _nats(cluster: ClusterSettings, settings: Settings, stack: ExitStack) -> _Nats:
    """Return the NATS servers; start that of this node, unless others are given.

    Raises:
        StartError: the server cannot be started, or the files of TLS cannot be used.
    """
    tls = _tls_files(cluster)
    try:
        context = None if tls is None else tls.context()
    except OSError as error:
        raise StartError(f"the files of TLS cannot be used: {error}") from error
    if cluster.nats_url is not None:
        reload = (lambda: None) if tls is None or context is None else partial(tls.load, context)
        return _Nats(list(cluster.nats_url), context, reload)
    server = _child_server(cluster, settings, tls)
    try:
        server.start()
    except OSError as error:
        raise StartError(f"the NATS server cannot be started: {error}") from error
    stack.callback(server.stop)
    return _Nats([server.address], None, server.reload)


def _tls_files(cluster: ClusterSettings) -> TlsFiles | None:
    authority, certificate, key = cluster.tls_ca_file, cluster.tls_cert_file, cluster.tls_key_file
    if authority is None and certificate is None and key is None:
        return None
    is_whole = authority is not None and (certificate is None) == (key is None)
    if authority is None or not is_whole or (certificate is None and cluster.nats_url is None):
        raise StartError(
            "TLS needs all of --tls-cert-file, --tls-key-file and --tls-ca-file; with --nats-url, the last one is "
            "enough if the servers ask for no certificate"
        )
    return TlsFiles(authority, certificate, key)


def _child_server(cluster: ClusterSettings, settings: Settings, tls: TlsFiles | None) -> ChildServer:
    """Return the NATS server of this node, which is not started yet.

    Raises:
        StartError: there is no program, or anybody could join.
    """
    program = find_program()
    if program is None:
        raise StartError("there is no nats-server. Install it: pip install 'wonderq[cluster]', or use --nats-url")
    host = settings.listen[0]
    secret = _secret(cluster)
    is_alone = len(cluster.peers) == 1
    if not secret and not is_alone and not settings.insecure and not host.startswith("127.") and host != "localhost":
        raise StartError(
            f"the NATS server of this node would accept any other one that reaches {host}. Set --secret-file to a file "
            "with the same random text on all nodes, or pass --insecure."
        )
    return ChildServer(
        program,
        settings.data.absolute() / "nats",
        name=cluster.name,
        port=cluster.nats_port,
        route_host=host,
        routes={each.name: (each.host, each.port) for each in cluster.peers},
        secret=secret,
        tls=tls,
    )


def _secret(cluster: ClusterSettings) -> str:
    if cluster.secret_file is None:
        return ""
    try:
        text = cluster.secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the secret in {cluster.secret_file} cannot be read: {error}") from error
    if len(text) < 16:
        raise StartError(f"the secret in {cluster.secret_file} has fewer than 16 characters. Use a random one.")
    return text


def _await_nats(jetstream: JetStream) -> None:
    """Wait until enough NATS servers are connected, and check how they are set up.

    Raises:
        StartError: they could lose what they acknowledge.
    """
    tell_s = time.monotonic() + _TELL_S
    while True:
        try:
            jetstream.call("STREAM.NAMES", timeout_s=_CALL_S)
            break
        except NatsError as error:
            if time.monotonic() > tell_s:
                tell_s = time.monotonic() + _TELL_S
                logger.warning("waiting for more than half of the NATS servers: %s", error)
            time.sleep(_FOUNDING_INTERVAL_S)
    try:
        may_ask = check_servers(jetstream)
    except (StorageError, NatsError) as error:
        raise StartError(f"the NATS servers cannot be used: {error}") from error
    if not may_ask:
        logger.warning(
            "NATS does not tell whether it syncs messages before it acknowledges them. See that each server has "
            "sync_interval: always; docs/HIGH_AVAILABILITY.md tells how to let WonderQ check it"
        )


def _charter(cluster: ClusterSettings, settings: Settings, jetstream: JetStream, values: JetStreamValues) -> Charter:
    """Return the charter of the cluster, which is made if there is none.

    Raises:
        StartError: this node does not fit the cluster, or NATS does not answer.
    """
    servers = len(cluster.nats_url or cluster.peers)
    founding = _Founding(cluster, jetstream)
    while True:
        try:
            return join(
                values,
                settings.data,
                Wanted(cluster.shards, cluster.replicas),
                Wishes(DEFAULT_SHARDS, _default_replicas(servers)),
                founding.await_all,
            )
        except (CharterError, OSError) as error:
            raise StartError(f"this node cannot join: {error}") from error
        except StorageError as error:
            logger.warning("waiting for NATS: %s", error)
            time.sleep(_FOUNDING_INTERVAL_S)


class _Founding:
    """The nodes of a cluster that is not made yet. All must be there, so that wrong peers cannot make two clusters."""

    def __init__(self, cluster: ClusterSettings, jetstream: JetStream) -> None:
        self._connection = jetstream.connection
        peers = sorted({each.name for each in cluster.peers} | {cluster.name})
        self._terms = {"peers": peers, "shards": cluster.shards, "replicas": cluster.replicas}
        self._missing = set(peers) - {cluster.name}
        self._own = json.dumps({"node": cluster.name, "terms": self._terms}).encode()
        self._different: str | None = None
        if self._missing:
            self._connection.subscribe(_FOUNDING, self._hear)

    def _hear(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
            node, terms = str(fields["node"]), fields["terms"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if terms != self._terms:
            self._different = f"the node {node} has {json.dumps(terms)}, and this one {json.dumps(self._terms)}"
        else:
            self._missing.discard(node)

    def await_all(self, is_made: Callable[[], bool]) -> None:
        """Wait until all nodes were heard, or the cluster is made, and let them hear this one.

        Raises:
            StartError: another node has other settings.
        """
        self.hear_all(is_made, self._say)
        self._say()  # another node may wait only for this one

    def hear_all(self, is_made: Callable[[], bool], say: Callable[[], None] = lambda: None) -> None:
        """Wait until all nodes were heard, or the cluster is made. ``say`` is called again and again.

        Raises:
            StartError: another node has other settings.
        """
        tell_s = time.monotonic() + _TELL_S
        while self._missing and not is_made():
            if self._different is not None:
                raise StartError(
                    f"the nodes have different settings of the cluster: {self._different}. Make them equal."
                )
            if time.monotonic() > tell_s:
                tell_s = time.monotonic() + _TELL_S
                logger.warning("a new cluster needs all of its nodes; waiting for %s", ", ".join(sorted(self._missing)))
            say()
            time.sleep(_FOUNDING_INTERVAL_S)

    def _say(self) -> None:
        try:
            self._connection.publish(_FOUNDING, self._own, timeout_s=_CALL_S)
        except NatsError as error:
            logger.info("NATS cannot be reached: %s", error)


class _ClusterPeers(JetStreamPeers):
    """The other nodes, over NATS."""

    def __init__(self, jetstream: JetStream, charter: Charter) -> None:
        super().__init__(jetstream, f"wonderq.{charter.cluster_id}")
        self._streams = [JetStreamPeers(jetstream, charter.stream(shard)) for shard in range(charter.shards)]

    def look(self, shard: int = 0) -> Look | None:
        return self._streams[shard].look()


class _Parts:
    """The parts that the broker of each shard is put together from."""

    def __init__(
        self,
        settings: Settings,
        sources: Mapping[str, str],
        keys: Keys,
        jetstream: JetStream,
        posting: JetStream,
        servers: list[Address],
        charter: Charter,
        name: str,
    ) -> None:
        self.settings = settings
        self._sources = sources
        self._keys = keys
        self._jetstream = jetstream
        self._posting = posting
        self._servers = tuple(servers)
        self._charter = charter
        self._name = name
        self._buckets = TokenBuckets()
        self._sessions = Sessions()
        self.rounds = Rounds(2 * charter.shards)
        self.crossing_rounds = Rounds(charter.shards)  # whose turns wait for other nodes
        self.link_rounds = Rounds(2)  # the same, and must not hold up those
        self.apps: dict[Broker, App] = {}
        self.server: Server
        self.carrier: Carrier

    def access(self, rules: Mapping[str, Mapping[str, Any]] = RULES) -> Access:
        """Return the access of one application. All count the rate of a key together."""
        return Access(
            self._keys,
            requests_per_second=self.settings.requests_per_second,
            buckets=self._buckets,
            sessions=self._sessions,
            rules=rules,
        )

    @contextmanager
    def own(self, shard: Shard) -> Iterator[OwnedShard]:
        """Read the log of a shard, wait for the turn, and run a broker on it for the ``with`` block.

        Raises:
            StorageError: the log cannot be read, or another node was faster.
        """
        charter, number = self._charter, shard.number
        address = LogAddress(self._servers, charter.stream(number))
        settings = replace(self.settings, log=address, replicas=charter.replicas)
        counters = LogCounters()
        with ExitStack() as stack:
            sharing = Sharing(self._jetstream, self._name, shard, _PATIENCE_S, self._posting)
            log, checkpoints, part_bytes = open_log(settings, counters, sharing)
            stack.callback(log.close)
            broker = Broker(
                log,
                checkpoints=checkpoints,
                clock=TakeoverClock(),
                limits=settings.limits,
                create_queues=settings.create_queues,
                default_queue=shard_of(DEFAULT_QUEUE, charter.shards) == number,
                has_name=lambda name: shard_of(name, charter.shards) == number,
            )
            stack.callback(broker.close)
            broker.reach(RemoteShards(self.carrier, charter.shards, number))
            maintenance = LogMaintenance(broker, log, checkpoints, slack_bytes=part_bytes)
            # A planned hand-over does not wait for a checkpoint: the next node has read the log already.
            stack.callback(lambda: maintenance.stop(with_checkpoint=False))
            housekeeper = Housekeeper(broker)
            stack.callback(housekeeper.stop)
            crosser = Crosser(broker, self.carrier.try_once, charter.shards)
            stack.callback(crosser.stop)
            links = DeadLetterLinks(broker, self.carrier.try_once, charter.shards, number)
            stack.callback(links.stop)
            stack.callback(broker.stop_claiming)
            housekeeper.start(self.rounds)
            crosser.start(self.crossing_rounds)
            links.start(self.link_rounds)
            maintenance.start(self.rounds)
            vitals = ProcessVitals(log, counters, settings.connections)
            vitals.server = self.server
            # The node has the description of the API. It must not hold up a takeover.
            app = make_app(
                settings,
                self._sources,
                broker,
                self.access(),
                make_registry(broker),
                vitals,
                has_documentation=False,
            )
            self.apps[broker] = app
            stack.callback(self.apps.pop, broker)
            run_push(stack, broker, settings)
            collectors = [BrokerCollector(broker), LogCollector(log, counters, broker), CrossingCollector(broker)]
            yield OwnedShard(broker, cast("SharedLog", log), collectors)


def _edge(node: Node, requests: Connection, parts: _Parts, registry: CollectorRegistry) -> EdgeAssembly:
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
            signer=Signer(settings.data / KEY_FILE),
            address=PublicAddress(settings.public_url, settings.trusted_proxies),
            ui=settings.ui,
            mask=mask_of(settings),
        ),
    )


class _Anything:
    """Stands for a resource where only the paths count."""


def _routed(access: Access) -> Access:
    """Return an access that knows all paths of the API, so that it can check requests before their shard is known."""
    for template in RULES:
        access.router.add_route(template, _Anything())
    return access
