"""`wonderq serve`: assemble log, broker, application and server, and close them in reverse order."""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry

from wonderq.app import App, create_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys, KeysError
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.cluster.edge import Edge
from wonderq.config import MAX_SHARED_BATCH_BYTES, Settings, in_force
from wonderq.httpd.addresses import PublicAddress, TrustedHosts
from wonderq.httpd.listening import bind
from wonderq.httpd.server import Server
from wonderq.metrics import LogCollector, LogCounters, ProcessVitals, ServerCollector, make_registry
from wonderq.model.masks import Mask
from wonderq.model.push_hosts import PushHosts
from wonderq.ownership.front import Front
from wonderq.push.pusher import Pusher, PushLimits
from wonderq.rest.body_limits import body_limit
from wonderq.runtime.clock import CautiousClock, Clock
from wonderq.runtime.collector import CollectorPauses, no_collections
from wonderq.runtime.service_manager import notify
from wonderq.runtime.signals import Signals
from wonderq.runtime.time_evidence import TimeEvidence
from wonderq.sns import limits as sns_limits
from wonderq.sns.limits import SnsLimits
from wonderq.sns.signing import KEY_FILE, Signer
from wonderq.sqs import refusals
from wonderq.sqs.limits import STRICT, SqsLimits, relaxed
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import Checkpoints, CorruptLogError, FileCheckpoints, FileLog, Log, Observer, StorageError, Turn
from wonderq_storage.errors import remedy

if TYPE_CHECKING:
    from wonderq_storage.nats import JetStream

logger = logging.getLogger("wonderq")

#: Open files besides connections and existing segments: new segments, checkpoints, and what libraries open.
_SPARE_FILES = 256


#: Settings without a meaning for a log in JetStream.
_OF_A_FOLDER = ("fsync", "segment_bytes", "max_clock_jump", "accept_clock")


class StartError(Exception):
    """The broker cannot start. The message states why and what to do; nothing was changed."""


def validate(settings: Settings) -> None:
    """Check settings against each other.

    Raises:
        StartError: two settings contradict each other.
    """
    if settings.waiting_consumers >= settings.connections:
        raise StartError(
            f"{settings.waiting_consumers} consumers may wait, which could use up all {settings.connections} "
            "connections. Set more --connections or fewer --waiting-consumers."
        )
    if settings.message_bytes > settings.batch_bytes:
        raise StartError(
            f"messages of {settings.message_bytes} bytes do not fit in a batch of {settings.batch_bytes}. Set a higher "
            "--batch-bytes or a lower --message-bytes."
        )
    default = Settings()
    for name in _OF_A_FOLDER:
        if settings.log is not None and getattr(settings, name) != getattr(default, name):
            option = name.replace("_", "-")
            raise StartError(
                f"--{option} is for a log in a folder, and --log has it in NATS JetStream. Set no --{option}."
            )
    if settings.log is not None and settings.batch_bytes > MAX_SHARED_BATCH_BYTES:
        raise StartError(
            f"with a log in NATS, a batch may have {MAX_SHARED_BATCH_BYTES} bytes, and --batch-bytes is "
            f"{settings.batch_bytes}. Set a lower --batch-bytes, or none."
        )
    if settings.log is None and settings.replicas is not None:
        raise StartError("--replicas needs --log: a log in a folder is stored once. Set --log, or no --replicas.")
    if settings.log is None and settings.batch_bytes > settings.segment_bytes // 2:
        raise StartError(
            f"a batch of {settings.batch_bytes} bytes takes more than half of a segment of {settings.segment_bytes}. "
            "Set a higher --segment-bytes or a lower --batch-bytes."
        )


def serve(settings: Settings, signals: Signals, sources: Mapping[str, str] = MappingProxyType({})) -> None:
    """Run a broker until SIGTERM or SIGINT, then stop it cleanly.

    ``sources`` tells the dashboard where the settings come from; see `wonderq.config.in_force`.

    Raises:
        StartError: the folder, the key file or the address cannot be used.
        StopRequested: one of the signals arrived during the start. Everything is closed.
    """
    with assembled(settings, sources=sources) as (broker, server, keys):
        if settings.data.stat().st_mode & stat.S_IWOTH:
            logger.warning("every user of this machine can change %s. Run chmod 700 on it", settings.data)
        for warning in broker.warnings:
            logger.error("%s", warning)
        logger.info("%d keys in %s%s", keys.count, keys.path, "" if keys.required else ": every request is permitted")
        logger.info("listening on %s", " and ".join(server.urls))
        if settings.ui != "off":
            logger.info("dashboard at %s/ui", server.url)
        signals.ready(server.stop, keys.reload)
        about = f"data {settings.data}, fsync {settings.fsync}, pid {os.getpid()}"
        announce(f"wonderq listening on {server.url} ({about})")
        server.run(on_stop=broker.stop_claiming)
    logger.info("stopped cleanly")


class Assembly(NamedTuple):
    """The parts of a broker whose background threads run, and whose server listens but does not serve yet."""

    broker: Broker
    server: Server
    keys: Keys


@contextmanager
def assembled(
    settings: Settings,
    *,
    clock: Clock | None = None,
    housekeeping: Callable[[Broker], Housekeeper] = Housekeeper,
    sources: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Assembly]:
    """Put a broker together, and take it apart in reverse order at the end of the ``with`` block.

    ``clock`` replaces the clock that follows the system's, and ``sources`` is as in `serve`.

    Raises:
        StartError: the folder, the key file or the address cannot be used.
    """
    check_folder(settings.data)
    keys = open_keys(settings)
    check_file_limit(settings)
    began = time.monotonic()
    log_counters = LogCounters()
    with ExitStack() as stack:
        # Before the folder is opened, so that an address in use leaves no folder behind.
        sockets = bind_addresses(settings)
        for each in sockets:
            stack.callback(each.close)
        with no_collections():
            log, broker, maintenance = open_broker(settings, log_counters, clock)
        stack.callback(broker.core.clock.remember, at_once=True)
        stack.callback(broker.close)
        stack.callback(maintenance.stop)
        run_housekeeping(stack, broker, housekeeping(broker))
        maintenance.start()
        access = Access(keys, requests_per_second=settings.requests_per_second)
        registry = make_registry(broker)
        registry.register(LogCollector(log, log_counters, broker))
        vitals = ProcessVitals(log, log_counters, settings.connections)
        app = make_app(settings, sources, broker, access, registry, vitals, signer_of(settings))
        run_push(stack, broker, settings)
        server = vitals.server = start_server(app, access, settings, sockets)
        registry.register(ServerCollector(server, settings.connections))
        watch_collections(stack, broker)
        logger.info("ready after %.2f s; log of %d bytes", time.monotonic() - began, log.used_bytes())
        yield Assembly(broker, server, keys)


def run_housekeeping(stack: ExitStack, broker: Broker, housekeeper: Housekeeper) -> None:
    """Start the housekeeper, and stop it together with the delivery of messages when the stack is closed."""
    stack.callback(housekeeper.stop)
    stack.callback(broker.stop_claiming)
    housekeeper.start()


def run_push(stack: ExitStack, broker: Broker, settings: Settings) -> None:
    """Deliver to endpoints until the stack is closed, if the settings name any host. Call it after `make_app`."""
    if settings.push_hosts:
        pusher = Pusher(broker, PushLimits(settings.push_requests, settings.push_requests_per_endpoint))
        stack.callback(pusher.stop)
        stack.callback(broker.stop_claiming)
        pusher.start()
    elif waiting := len(broker.pushes.keys()):
        logger.warning("push is off, and subscriptions with endpoints wait for it: %d. Set --push-hosts", waiting)


def watch_collections(stack: ExitStack, broker: Broker) -> None:
    """Keep the pauses of the garbage collector short until the stack is closed."""
    pauses = CollectorPauses(lambda: broker.long_lived_objects)
    pauses.start()
    stack.callback(pauses.stop)


def check_folder(folder: Path) -> None:
    """Check that a broker's folder can be read, if it exists.

    Raises:
        StartError: it cannot.
    """
    try:
        with os.scandir(folder):
            pass
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StartError(explain(error, str(folder))) from error


def announce(line: str) -> None:
    """Print a line and notify the service manager that clients may connect.

    A full disk or a closed pipe behind standard output does not stop the broker.
    """
    notify(f"READY=1\nSTATUS={line}")
    try:
        print(line, flush=True)
    except OSError as error:
        logger.warning("standard output cannot be written (%s): %s", error.strerror, line)
        with suppress(OSError, ValueError):  # or the interpreter would try again, and fail, when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_keys(settings: Settings) -> Keys:
    """Read the key file. Without keys, the address must be on loopback unless the settings are insecure.

    Raises:
        StartError: the key file cannot be used, or the broker would be open to other machines.
    """
    host, _ = settings.listen
    try:
        keys = Keys(settings.keys_file)
    except KeysError as error:
        raise StartError(f"{error}. Nothing was changed.") from error
    if not keys.required and not settings.insecure and not _is_loopback(host):
        raise StartError(
            f"{host} can be reached from other machines and there are no keys in {keys.path}, so anyone who can reach "
            "it could use this broker. Create a key with 'wonderq key create', listen on 127.0.0.1 behind a proxy "
            "that authenticates, or pass --insecure."
        )
    return keys


def trusted_hosts(settings: Settings) -> TrustedHosts | None:
    """Return the names by which clients may call a broker without keys; None if any will do."""
    host, _ = settings.listen
    return TrustedHosts((host, *settings.hosts)) if settings.hosts or _is_loopback(host) else None


def make_app(
    settings: Settings,
    sources: Mapping[str, str],
    broker: Broker,
    access: Access,
    registry: CollectorRegistry,
    vitals: ProcessVitals,
    signer: Signer,
    *,
    has_documentation: bool = True,
) -> App:
    """Return the application that serves a broker, with or without the description of the API.

    All applications of a process have the same ``signer``: see `signer_of`.
    """
    broker.pushes.hosts = PushHosts(settings.push_hosts)
    return create_app(
        broker,
        access,
        registry,
        hosts=trusted_hosts(settings),
        cors_origins=settings.cors_origins,
        sqs_limits=sqs_limits_of(settings),
        sns_limits=sns_limits_of(settings),
        signer=signer,
        address=PublicAddress(settings.public_url, settings.trusted_proxies),
        vitals=vitals.read,
        ui=settings.ui,
        mask=mask_of(settings),
        settings=in_force(settings, sources),
        has_documentation=has_documentation,
    )


def signer_of(settings: Settings) -> Signer:
    """Return what signs notifications. A process calls this once, so that it makes one key and reads it once."""
    return Signer(settings.data / KEY_FILE)


def mask_of(settings: Settings) -> Mask | None:
    """Return what hides parts of the messages in the dashboard."""
    return Mask(settings.ui_mask) if settings.ui_mask else None


def sqs_limits_of(settings: Settings) -> SqsLimits:
    """Return the limits of the SQS endpoint."""
    return STRICT if settings.sqs_limits == "strict" else relaxed(settings.limits)


def sns_limits_of(settings: Settings) -> SnsLimits:
    """Return the limits of the SNS endpoint."""
    return sns_limits.STRICT if settings.sqs_limits == "strict" else sns_limits.relaxed(settings.limits)


@contextmanager
def _explain_address(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        host, port = settings.listen
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another address with --listen; port 0 "
            "takes a free one."
        ) from error


def bind_addresses(settings: Settings) -> list[socket.socket]:
    """Bind the addresses, without listening yet.

    Raises:
        StartError: one of them cannot be used.
    """
    with _explain_address(settings):
        return bind(*settings.listen)


def start_server(
    app: App | Front | Edge, access: Access, settings: Settings, sockets: Sequence[socket.socket]
) -> Server:
    """Listen, without serving requests yet.

    A `Front` decides by itself about heads and bodies while there is no broker.

    Raises:
        StartError: the address is in use meanwhile.
    """
    check_head = access.check_head
    limit = body_limit(access.router, settings.limits, sqs_batch_bytes=sqs_limits_of(settings).batch_bytes)
    if isinstance(app, Front):
        check_head, limit = app.check_head, app.limit_of(limit, settings.max_body_bytes)
    with _explain_address(settings):
        server = Server(
            app,
            *settings.listen,
            connections=settings.connections,
            connections_per_address=settings.connections_per_address,
            check_head=check_head,
            render_error=refusals.render_if_for_sqs,
            max_body_bytes=settings.max_body_bytes,
            body_limit=limit,
            sockets=sockets,
        )
    server.counters.log_requests = settings.access_log
    return server


class OpenedLog(NamedTuple):
    """A log that is not replayed yet."""

    log: Log
    checkpoints: Checkpoints
    part_bytes: int
    """Size of the parts in which the log drops its oldest records."""


class Sharing(NamedTuple):
    """The parts that a log in JetStream needs besides the settings."""

    jetstream: JetStream
    node: str
    """Name of this process, for people."""
    turn: Turn | None = None
    """Decides when to take the log over; None for as soon as it is read."""
    patience_s: float = 30.0
    """Limit of the repetitions of a call to NATS."""
    posting: JetStream | None = None
    """Connection over which the log sends what needs no thread to wait for it, if the server reads one."""


def open_log(settings: Settings, observer: Observer | None = None, sharing: Sharing | None = None) -> OpenedLog:
    """Open the log that the settings name. Only this function knows what kind of log that is.

    ``observer`` is called for each group and sync. A log in JetStream needs ``sharing``.

    Raises:
        StorageError, OSError: the log cannot be opened.
    """
    if settings.log is None:
        folder, segment_bytes = settings.data, settings.segment_bytes
        log = FileLog(folder, sync=settings.fsync, segment_bytes=segment_bytes, observer=observer)
        return OpenedLog(log, FileCheckpoints(folder), segment_bytes)
    assert sharing is not None
    # Not at the top: a broker on a folder does without the client of NATS.
    from wonderq_storage.jetstream_checkpoints import JetStreamCheckpoints  # noqa: PLC0415
    from wonderq_storage.jetstream_log import DEFAULT_PART_BYTES, MOST_RECORD_BYTES, JetStreamLog  # noqa: PLC0415

    stream, replicas = settings.log.stream, settings.replica_count
    shared = JetStreamLog(
        sharing.jetstream,
        stream,
        node=sharing.node,
        replicas=replicas,
        max_bytes=settings.log_bytes,
        max_record_bytes=MOST_RECORD_BYTES,
        patience_s=sharing.patience_s,
        posting=sharing.posting,
        observer=observer,
        turn=sharing.turn,
    )
    return OpenedLog(shared, JetStreamCheckpoints(sharing.jetstream, stream, replicas=replicas), DEFAULT_PART_BYTES)


def open_broker(
    settings: Settings, observer: Observer | None = None, clock: Clock | None = None
) -> tuple[Log, Broker, LogMaintenance]:
    """Open the log and replay it. ``observer`` is called for each group and sync.

    ``clock`` replaces the clock that follows the system's.

    Raises:
        StartError: the folder cannot be used.
    """
    folder = settings.data
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    opened = None
    try:
        opened = open_log(settings, observer)
        broker = Broker(
            opened.log,
            checkpoints=opened.checkpoints,
            clock=clock or _clock(settings),
            limits=settings.limits,
            create_queues=settings.create_queues,
        )
        opened.checkpoints.remove_unfinished()
        log, checkpoints, part_bytes = opened
        return log, broker, LogMaintenance(broker, log, checkpoints, slack_bytes=part_bytes)
    except BaseException as error:
        if opened is not None:
            opened.log.close()
        with suppress(OSError):  # a folder that is not empty stays
            for each in made:
                each.rmdir()
        if isinstance(error, StorageError | UnreadableRecordError | OSError | ValueError):
            raise StartError(explain(error, str(folder))) from error
        raise


def _clock(settings: Settings) -> CautiousClock:
    max_jump_ms = settings.max_clock_jump * 1000
    return CautiousClock(TimeEvidence(settings.data), max_jump_ms=max_jump_ms, accept=settings.accept_clock)


def explain(error: Exception, folder: str) -> str:
    """Describe why a folder cannot be used, and what to do."""
    if isinstance(error, CorruptLogError):
        return (
            f"the log is damaged: {error}. Nothing was changed. Run 'wonderq folder verify {folder}' to list all "
            f"damage. Restore the file from a backup if you have one, or run 'wonderq folder repair {folder} NEW' to "
            "salvage the rest."
        )
    if isinstance(error, OSError):
        reason = f"cannot use {error.filename or folder}: {error.strerror or error}"
        return f"{reason}. {remedy(error)}. Nothing was changed."
    return str(error)


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise StartError(
            f"{host} is not an address of this machine: {error.strerror}. Choose another one with --listen."
        ) from error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def check_file_limit(settings: Settings) -> None:
    """Check that this process may open a file for each connection and segment, and some more.

    The command line has raised the limit as far as this user may (`wonderq.cli.main.raise_file_limit`).

    Raises:
        StartError: the limit is too low.
    """
    in_use = len(list(settings.data.glob("*"))) if settings.data.is_dir() else 0
    to_endpoints = 2 * settings.push_requests if settings.push_hosts else 0  # those in use, and those kept open
    connections = settings.connections + to_endpoints
    needed = connections + in_use + _SPARE_FILES
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise StartError(
            f"{connections} connections and the log may need {needed} open files, and this process may have "
            f"{allowed}. Raise its limit (ulimit -Hn, or LimitNOFILE= of systemd), or set fewer with --connections."
        )
