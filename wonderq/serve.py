"""`wonderq serve`: put log, broker, application and server together, and take them apart again in order."""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import signal
import socket
import time

from wonderq.app import create_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys, KeysError
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.config import Settings
from wonderq.httpd.addresses import TrustedHosts
from wonderq.httpd.server import Server
from wonderq.metrics import LogCollector, LogCounters, ServerCollector, make_registry
from wonderq.sqs.limits import STRICT, relaxed
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import Checkpoints, CorruptLogError, FileLog, Observer, StorageError

logger = logging.getLogger("wonderq")

#: Open files besides those of connections and of the log as it is: segments to come, bodies that are kept on disk.
_SPARE_FILES = 256


class StartError(Exception):
    """The broker cannot start; the message says why and what to do. No message was changed."""


def validate(settings: Settings) -> None:
    """Raise StartError for settings that cannot be used with each other."""
    if settings.waiting_consumers >= settings.connections:
        raise StartError(
            f"{settings.waiting_consumers} consumers may wait, and would take all of {settings.connections} connections. Say "
            "more with --connections, or fewer with --waiting-consumers."
        )
    if settings.message_bytes > settings.batch_bytes:
        raise StartError(
            f"messages of {settings.message_bytes} bytes do not fit in a batch of {settings.batch_bytes}. Say more with "
            "--batch-bytes, or less with --message-bytes."
        )
    if settings.batch_bytes > settings.segment_bytes // 2:
        raise StartError(
            f"a batch of {settings.batch_bytes} bytes takes more than half of a segment of {settings.segment_bytes}. Say more "
            "with --segment-bytes, or less with --batch-bytes."
        )


def serve(settings: Settings) -> None:
    """Run a broker until SIGTERM or SIGINT, then stop it cleanly.

    Raises:
        StartError: the folder, the file of keys or the address cannot be used.
    """
    host, port = settings.listen
    try:
        keys = Keys(settings.keys_file)
    except KeysError as error:
        raise StartError(f"{error}. Nothing was changed.") from error
    if not keys.required and not settings.insecure and not _is_loopback(host):
        raise StartError(
            f"{host} can be reached from other machines, and there are no keys in {keys.path}, so this broker would ask "
            "nobody who they are. Make a key with 'wonderq keys create', or listen on 127.0.0.1 behind a proxy that asks, or "
            "say --insecure."
        )
    _allow_files(settings)
    began = time.monotonic()
    log_measures = LogCounters()
    log, broker, maintenance = open_broker(settings, log_measures)
    housekeeper = Housekeeper(broker)
    try:
        maintenance.start()
        housekeeper.start()
        access = Access(keys, requests_per_second=settings.requests_per_second)
        hosts = TrustedHosts((host, *settings.hosts)) if settings.hosts or _is_loopback(host) else None
        registry = make_registry(broker)
        registry.register(LogCollector(log, log_measures, broker))
        app = create_app(
            broker,
            access,
            registry,
            hosts=hosts,
            cors_origins=settings.cors_origins,
            sqs_limits=STRICT if settings.sqs_limits == "strict" else relaxed(broker.limits),
        )
        try:
            server = Server(
                app,
                host,
                port,
                connections=settings.connections,
                connections_per_address=settings.connections_per_address,
                check_head=access.check_head,
                max_body_bytes=settings.max_body_bytes,
            )
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another address with --listen; port 0 "
                "takes a free one."
            ) from error
        server.counters.log_requests = settings.access_log
        registry.register(ServerCollector(server, settings.connections))
        logger.info("ready after %.2f s; log of %d bytes", time.monotonic() - began, log.disk_bytes)
        logger.info("%d keys in %s%s", keys.count, keys.path, "" if keys.required else ": everybody may do everything")
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: server.stop())
        print(
            f"wonderq listening on {server.url} (data {settings.data}, fsync {settings.fsync}, pid {os.getpid()})",
            flush=True,
        )
        server.run(on_stop=broker.stop_claiming)
    finally:
        broker.stop_claiming()
        housekeeper.stop()
        maintenance.stop()
        broker.close()
    logger.info("stopped cleanly")


def open_broker(settings: Settings, observer: Observer | None = None) -> tuple[FileLog, Broker, LogMaintenance]:
    """Open the folder and replay its log; ``observer`` is told what that does.

    Raises:
        StartError: it cannot be used.
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
    """Say what is wrong with a folder, and what to do next."""
    if isinstance(error, CorruptLogError):
        return (
            f"the log is damaged: {error}. Nothing was changed. Run 'wonderq verify {folder}' to see all that is damaged. "
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


def _allow_files(settings: Settings) -> None:
    """Let this process have a file open for each connection and each segment; and some more, such as for large bodies.

    Raises:
        StartError: it may not have so many.
    """
    in_use = len(list(settings.data.glob("*"))) if settings.data.is_dir() else 0
    needed = settings.connections + in_use + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise StartError(
            f"{settings.connections} connections and the log may take {needed} open files, and this process may have {hard}. "
            "Raise its limit (ulimit -Hn, or LimitNOFILE= of systemd), or say fewer with --connections."
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
