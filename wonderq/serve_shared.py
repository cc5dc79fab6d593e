"""`wonderq serve --log`: a process that shares its log. It serves while it owns the log, or else stands by."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import NamedTuple, cast

from prometheus_client import CollectorRegistry, ProcessCollector

from wonderq.app import create_stand_by_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.config import Settings
from wonderq.httpd.server import Server
from wonderq.metrics import LogCollector, LogCounters, ProcessVitals, ServerCollector, make_registry
from wonderq.ownership.member import Member
from wonderq.ownership.metrics import NodeCollector
from wonderq.ownership.node import Node, Owned
from wonderq.runtime.clock import Clock
from wonderq.runtime.signals import Signals
from wonderq.serve import (
    Sharing,
    StartError,
    announce,
    bind_addresses,
    check_file_limit,
    make_app,
    open_keys,
    open_log,
    run_housekeeping,
    run_push,
    signer_of,
    start_server,
    trusted_hosts,
    watch_collections,
)
from wonderq_storage import SharedLog, StorageError
from wonderq_storage.jetstream_peers import JetStreamPeers
from wonderq_storage.jetstream_stream import check_servers
from wonderq_storage.nats import Connection, JetStream, NatsError

logger = logging.getLogger("wonderq")

#: How long a start waits for NATS.
_START_S = 10.0

#: Longest name of a process; an epoch record has room for 64 bytes.
_MAX_NAME = 60


def serve_shared(settings: Settings, signals: Signals, sources: Mapping[str, str] = MappingProxyType({})) -> None:
    """Stand by, and run a broker while this process owns the log, until SIGTERM or SIGINT.

    ``sources`` tells the dashboard where the settings come from; see `wonderq.config.in_force`.

    Raises:
        StartError: NATS, the key file or the address cannot be used.
        StopRequested: one of the signals arrived during the start. Everything is closed.
    """
    with shared(settings, sources) as (node, server, keys):
        logger.info("%d keys in %s%s", keys.count, keys.path, "" if keys.required else ": every request is permitted")
        logger.info("listening on %s", " and ".join(server.urls))
        signals.ready(server.stop, keys.reload)
        announce(f"wonderq listening on {server.url} (log {settings.log}, pid {os.getpid()})")
        node.start()
        server.run(on_stop=node.stop_claiming)
    logger.info("stopped cleanly")


class SharedAssembly(NamedTuple):
    """The parts of a process that shares its log. It does not stand by yet, and its server listens without serving."""

    node: Node
    server: Server
    keys: Keys


@contextmanager
def shared(settings: Settings, sources: Mapping[str, str] = MappingProxyType({})) -> Iterator[SharedAssembly]:
    """Put a process together that shares its log, and take it apart at the end of the ``with`` block.

    Raises:
        StartError: NATS, the key file or the address cannot be used.
    """
    assert settings.log is not None
    keys = open_keys(settings)
    check_file_limit(settings)
    with ExitStack() as stack:
        sockets = bind_addresses(settings)
        for each in sockets:
            stack.callback(each.close)
        name = _name_of(settings, sockets)
        jetstream = JetStream(Connection(settings.log.servers, name=f"wonderq {name}"))
        stack.callback(jetstream.connection.close)
        # The server reads this connection. What its thread waits for must come over the other one.
        posting = JetStream(Connection(settings.log.servers, name=f"wonderq {name} posts"))
        stack.callback(posting.connection.close)
        _check_nats(settings, jetstream)
        access = Access(keys, requests_per_second=settings.requests_per_second)
        parts = _Parts(settings, sources, access, jetstream, posting, name)
        node = parts.node = Node(name, JetStreamPeers(jetstream, settings.log.stream), parts.own)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(NodeCollector(node))
        stand_by = create_stand_by_app(
            Access(keys),
            registry,
            node.standing,
            hosts=trusted_hosts(settings),
            cors_origins=settings.cors_origins,
            ui=settings.ui,
        )
        node.front.set_up(stand_by, access.check_head)
        server = parts.server = start_server(node.front, access, settings, sockets)
        posting.connection.read_on(server)
        registry.register(ServerCollector(server, settings.connections))
        stack.callback(node.stop)
        yield SharedAssembly(node, server, keys)


class _Parts:
    """The parts that each ownership is put together from."""

    def __init__(
        self,
        settings: Settings,
        sources: Mapping[str, str],
        access: Access,
        jetstream: JetStream,
        posting: JetStream,
        name: str,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._access = access
        self._jetstream = jetstream
        self._posting = posting
        self._name = name
        self._counters = LogCounters()
        self._signer = signer_of(settings)
        self.node: Node
        self.server: Server

    @contextmanager
    def own(self, member: Member) -> Iterator[Owned]:
        """Stand by until this process owns the log, and run a broker on it for the ``with`` block.

        Raises:
            StorageError: the log cannot be read, or another process was faster.
        """
        settings, counters, server = self._settings, self._counters, self.server
        sharing = Sharing(self._jetstream, self._name, member, posting=self._posting)
        with ExitStack() as stack:
            log, checkpoints, part_bytes = open_log(settings, counters, sharing)
            stack.callback(log.close)
            broker = Broker(
                log,
                checkpoints=checkpoints,
                clock=TakeoverClock(),
                limits=settings.limits,
                create_queues=settings.create_queues,
            )
            stack.callback(broker.close)
            maintenance = LogMaintenance(broker, log, checkpoints, slack_bytes=part_bytes)
            # A process that stands by has the state already, and waits for this process to end.
            stack.callback(lambda: maintenance.stop(with_checkpoint=not member.others))
            run_housekeeping(stack, broker, Housekeeper(broker))
            maintenance.start()
            registry = make_registry(broker)
            registry.register(LogCollector(log, counters, broker))
            registry.register(ServerCollector(server, settings.connections))
            registry.register(NodeCollector(self.node))
            vitals = ProcessVitals(log, counters, settings.connections)
            vitals.server, vitals.shared_log = server, self.node.shared_log
            app = make_app(settings, self._sources, broker, self._access, registry, vitals, self._signer)
            run_push(stack, broker, settings)
            watch_collections(stack, broker)
            yield Owned(broker, cast("SharedLog", log), app)


class TakeoverClock(Clock):
    """A clock that reads the wall clock when the log is taken over, and not when the process began to stand by."""

    def raise_floor(self, floor_ms: int) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        super().raise_floor(floor_ms)


def _name_of(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    """Return the name of this process for people: the address under which clients reach it, as far as it is known."""
    if settings.public_url:
        return settings.public_url.partition("://")[2][:_MAX_NAME]
    host, port = settings.listen[0], f":{sockets[0].getsockname()[1]}"
    try:
        is_any = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        is_any = False
    return f"{(socket.gethostname() if is_any else host)[: _MAX_NAME - len(port)]}{port}"


def check_syncs(jetstream: JetStream) -> None:
    """Check that the NATS servers sync what they acknowledge, and warn if they do not tell.

    Raises:
        StorageError, NatsError: see `wonderq_storage.jetstream_stream.check_servers`.
    """
    if not check_servers(jetstream):
        logger.warning(
            "NATS does not tell whether it syncs messages before it acknowledges them. See that each server has "
            "sync_interval: always; docs/HIGH_AVAILABILITY.md tells how to let WonderQ check it"
        )


def _check_nats(settings: Settings, jetstream: JetStream) -> None:
    """Check that the servers and the stream are set up so that nothing can be lost. Makes the stream if there is none.

    Raises:
        StartError: they are not, or cannot be reached.
    """
    try:
        log = open_log(settings, sharing=Sharing(jetstream, "start", patience_s=_START_S)).log
        cast("SharedLog", log).prepare()
        check_syncs(jetstream)
    except (StorageError, NatsError) as error:
        raise StartError(f"the log {settings.log} cannot be used: {error}") from error
