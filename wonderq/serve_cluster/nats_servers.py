"""The NATS servers of a node: one that it runs itself, or those of others."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from wonderq.config import ClusterSettings, Settings
from wonderq.serve import StartError
from wonderq.serve_shared import check_syncs
from wonderq_storage import StorageError
from wonderq_storage.disk import Disk
from wonderq_storage.nats import Connection, JetStream, NatsError
from wonderq_storage.nats.address import Address
from wonderq_storage.nats.child_server import ChildServer, former_name
from wonderq_storage.nats.local_servers import find_program
from wonderq_storage.nats.tls_files import ClientTls, TlsFiles

logger = logging.getLogger("wonderq")

#: Interval at which a start tells what it waits for.
TELL_S = 10.0

_RETRY_S = 0.2

_CALL_S = 2.0


class NatsServers(NamedTuple):
    """The NATS servers that this node uses."""

    servers: list[Address]
    tls: Callable[[], ssl.SSLContext] | None
    """Returns the certificates that a new connection shows, and checks; None without files for that."""
    reload: Callable[[], None]

    def connect(self, name: str) -> Connection:
        return Connection(self.servers, tls=self.tls, name=name)

    def reload_certificates(self) -> None:
        """Read the certificates again. If they cannot be used, the former ones stay."""
        try:
            self.reload()
        except OSError as error:
            logger.error("the certificates were not read again: %s", error)  # noqa: TRY400 - the user must act


def open_nats(cluster: ClusterSettings, settings: Settings, stack: ExitStack) -> NatsServers:
    """Return the NATS servers; start that of this node, unless others are given.

    Raises:
        StartError: the server cannot be started, or the files of TLS cannot be used.
    """
    tls = _tls_files(cluster)
    try:
        client = None if tls is None else ClientTls(tls)
    except OSError as error:
        raise StartError(f"the files of TLS cannot be used: {error}") from error
    if cluster.nats_url is not None:
        servers = list(cluster.nats_url)
        if client is None:
            return NatsServers(servers, None, lambda: None)
        return NatsServers(servers, client.context, client.reload)
    server = _child_server(cluster, settings, tls)
    stack.callback(server.stop)  # before the start, in which a signal can raise its exception
    try:
        Disk().make_folder(settings.data)
        server.start()
    except OSError as error:
        raise StartError(f"the NATS server cannot be started: {error}") from error
    return NatsServers([server.address], None, server.reload)


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
        StartError: there is no program, anybody could join, or the folder is that of another node.
    """
    folder = settings.data.absolute() / "nats"
    _check_name(cluster.name, folder)
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
        folder,
        name=cluster.name,
        port=cluster.nats_port,
        route_host=host,
        routes={each.name: (each.host, each.port) for each in cluster.peers},
        secret=secret,
        tls=tls,
    )


def _check_name(name: str, folder: Path) -> None:
    """Check that the copies of logs in a folder were made under the name of this node, or NATS would remove them.

    Raises:
        StartError: they were made under another one.
    """
    try:
        former = former_name(folder)
    except OSError as error:
        raise StartError(f"the name of the node in {folder} cannot be read: {error}") from error
    if former not in (None, name):
        raise StartError(
            f"{folder.parent} has the copies of the node {former}, and --name is {name}. NATS would remove the copies. "
            f"Start it with --name {former}. For a node with another name, use an empty folder, and let it take the "
            f"place of the former one with 'wonderq cluster replace {former} {name}'."
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


def await_nats(jetstream: JetStream) -> None:
    """Wait until enough NATS servers are connected, and check how they are set up.

    Raises:
        StartError: they could lose what they acknowledge.
    """
    tell_s = time.monotonic() + TELL_S
    while True:
        try:
            jetstream.call("STREAM.NAMES", timeout_s=_CALL_S)
            break
        except NatsError as error:
            if time.monotonic() > tell_s:
                tell_s = time.monotonic() + TELL_S
                logger.warning("waiting for more than half of the NATS servers: %s", error)
            time.sleep(_RETRY_S)
    try:
        check_syncs(jetstream)
    except (StorageError, NatsError) as error:
        raise StartError(f"the NATS servers cannot be used: {error}") from error
