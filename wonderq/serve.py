"""`wonderq serve`: assemble log, broker, application and server, and close them in reverse order."""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import signal
import socket
import time
from contextlib import ExitStack

from prometheus_client import CollectorRegistry

from wonderq.app import App, create_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys, KeysError
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.config import Settings
from wonderq.httpd.addresses import PublicAddress, TrustedHosts
from wonderq.httpd.server import Server
from wonderq.metrics import LogCollector, LogCounters, ServerCollector, make_registry
from wonderq.sqs import refusals
from wonderq.sqs.limits import STRICT, relaxed
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import Checkpoints, CorruptLogError, FileLog, Observer, StorageError

logger = logging.getLogger("wonderq")

#: Open files besides connections and existing segments: new segments, and large bodies in temporary files.
_SPARE_FILES = 256


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
    if settings.batch_bytes > settings.segment_bytes // 2:
        raise StartError(
            f"a batch of {settings.batch_bytes} bytes takes more than half of a segment of {settings.segment_bytes}. "
            "Set a higher --segment-bytes or a lower --batch-bytes."
        )


def serve(settings: Settings) -> None:
    """Run a broker until SIGTERM or SIGINT, then stop it cleanly.

    Raises:
        StartError: the folder, the key file or the address cannot be used.
    """
    keys = _open_keys(settings)
    _check_file_limit(settings)
    began = time.monotonic()
    log_counters = LogCounters()
    log, broker, maintenance = open_broker(settings, log_counters)
    with ExitStack() as stack:  # which undoes its steps in reverse order
        stack.callback(broker.close)
        stack.callback(maintenance.stop)
        housekeeper = Housekeeper(broker)
        stack.callback(housekeeper.stop)
        stack.callback(broker.stop_claiming)
        maintenance.start()
        housekeeper.start()
        access = Access(keys, requests_per_second=settings.requests_per_second)
        registry = make_registry(broker)
        registry.register(LogCollector(log, log_counters, broker))
        server = _start_server(_make_app(settings, broker, access, registry), access, settings)
        registry.register(ServerCollector(server, settings.connections))
        logger.info("ready after %.2f s; log of %d bytes", time.monotonic() - began, log.disk_bytes)
        logger.info("%d keys in %s%s", keys.count, keys.path, "" if keys.required else ": every request is permitted")
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: server.stop())
        print(
            f"wonderq listening on {server.url} (data {settings.data}, fsync {settings.fsync}, pid {os.getpid()})",
            flush=True,
        )
        server.run(on_stop=broker.stop_claiming)
    logger.info("stopped cleanly")


def _open_keys(settings: Settings) -> Keys:
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
            "it could use this broker. Create a key with 'wonderq keys create', listen on 127.0.0.1 behind a proxy "
            "that authenticates, or pass --insecure."
        )
    return keys


def _make_app(settings: Settings, broker: Broker, access: Access, registry: CollectorRegistry) -> App:
    host, _ = settings.listen
    hosts = TrustedHosts((host, *settings.hosts)) if settings.hosts or _is_loopback(host) else None
    sqs_limits = STRICT if settings.sqs_limits == "strict" else relaxed(broker.limits)
    return create_app(
        broker,
        access,
        registry,
        hosts=hosts,
        cors_origins=settings.cors_origins,
        sqs_limits=sqs_limits,
        address=PublicAddress(settings.public_url, settings.trusted_proxies),
    )


def _start_server(app: App, access: Access, settings: Settings) -> Server:
    """Listen on the address, without serving requests yet.

    Raises:
        StartError: the address cannot be used.
    """
    host, port = settings.listen
    try:
        server = Server(
            app,
            host,
            port,
            connections=settings.connections,
            connections_per_address=settings.connections_per_address,
            check_head=access.check_head,
            render_error=refusals.render_if_for_sqs,
            max_body_bytes=settings.max_body_bytes,
        )
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another address with --listen; port 0 "
            "takes a free one."
        ) from error
    server.counters.log_requests = settings.access_log
    return server


def open_broker(settings: Settings, observer: Observer | None = None) -> tuple[FileLog, Broker, LogMaintenance]:
    """Open the folder and replay its log. ``observer`` is called for each group and sync.

    Raises:
        StartError: the folder cannot be used.
    """
    folder = settings.data
    log = None
    try:
        log = FileLog(folder, sync=settings.fsync, segment_bytes=settings.segment_bytes, observer=observer)
        checkpoints = Checkpoints(folder)
        broker = Broker(log, checkpoints=checkpoints, limits=settings.limits, create_queues=settings.create_queues)
        checkpoints.remove_unfinished()
        return log, broker, LogMaintenance(broker, log, checkpoints, slack_bytes=settings.segment_bytes)
    except (StorageError, UnreadableRecordError, OSError, ValueError) as error:
        if log is not None:
            log.close()
        raise StartError(explain(error, str(folder))) from error


def explain(error: Exception, folder: str) -> str:
    """Describe why a folder cannot be used, and what to do."""
    if isinstance(error, CorruptLogError):
        return (
            f"the log is damaged: {error}. Nothing was changed. Run 'wonderq verify {folder}' to list all damage. "
            f"Restore the file from a backup if you have one, or run 'wonderq repair {folder} NEW' to salvage the rest."
        )
    if isinstance(error, OSError):
        return f"cannot use {error.filename or folder}: {error.strerror or error}. Nothing was changed."
    return str(error)


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise StartError(f"{host} is not an address of this machine: {error.strerror}") from error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _check_file_limit(settings: Settings) -> None:
    """Check that this process may open a file for each connection and segment, and some more.

    The command line has raised the limit as far as this user may (`wonderq.cli.serve.raise_file_limit`).

    Raises:
        StartError: the limit is too low.
    """
    in_use = len(list(settings.data.glob("*"))) if settings.data.is_dir() else 0
    needed = settings.connections + in_use + _SPARE_FILES
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise StartError(
            f"{settings.connections} connections and the log may need {needed} open files, and this process may have "
            f"{allowed}. Raise its limit (ulimit -Hn, or LimitNOFILE= of systemd), or set fewer with --connections."
        )
