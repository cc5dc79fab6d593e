"""The NATS servers of a node: how it connects to those of others, and ends its own."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.fake_nats import FakeNats
from tests.support.waiting import eventually
from wonderq.config import load_cluster
from wonderq.runtime.signals import Signals
from wonderq.serve_cluster.nats_servers import NatsServers, open_nats
from wonderq_storage.nats.local_servers import free_ports
from wonderq_storage.nats.tls_files import TlsFiles


def serving(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a server with these files, which asks its clients for a certificate."""
    assert files.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def connects(nats: NatsServers) -> bool:
    """Return whether a new connection comes about, or fails."""
    with closing(nats.connect("test")) as connection:
        eventually(lambda: connection.is_connected or "not tried" not in connection._problem)
        return connection.is_connected


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    """Return the files of the node."""
    return authority.issue("node")


@pytest.fixture
def nats(authority: Authority, files: TlsFiles) -> Iterator[NatsServers]:
    """Return a server that trusts the authority, and has a certificate of it, as that of a node."""
    with FakeNats(tls=serving(authority.issue("server"))) as server, ExitStack() as stack:
        options = {
            "name": "a",
            "nats_url": f"nats://localhost:{server.port}",
            "tls_ca_file": str(files.authority),
            "tls_cert_file": str(files.certificate),
            "tls_key_file": str(files.key),
        }
        cluster, settings, _ = load_cluster(options, {})
        yield open_nats(cluster, settings, stack)


@pytest.mark.parametrize("damaged", ["authority", "certificate", "key"])
def test_files_that_cannot_be_used_leave_the_former_ones_in_use(
    nats: NatsServers, authority: Authority, files: TlsFiles, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert connects(nats)
    file: Path = getattr(files, damaged)
    former = file.read_bytes()
    authority.issue("node")
    new = {each: each.read_bytes() for each in files if each is not None}
    file.write_bytes(b"nonsense" if damaged == "authority" else former)
    nats.reload_certificates()
    assert "the certificates were not read again" in caplog.text
    assert connects(nats)

    for each, data in new.items():
        each.write_bytes(data)
    nats.reload_certificates()
    assert connects(nats)


def test_an_authority_that_is_removed_is_trusted_no_more(
    nats: NatsServers, authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    former = files.authority.read_bytes()
    other = Authority(tmp_path / "other").file.read_bytes()
    for authorities, is_trusted in ((former + other, True), (other, False), (former, True)):
        files.authority.write_bytes(authorities)
        nats.reload_certificates()
        assert connects(nats) is is_trusted


def test_a_stop_at_any_moment_of_the_start_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        """A process whose parent gets the signal before it knows the process."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("wonderq.serve_cluster.nats_servers.find_program", lambda: str(program))
    monkeypatch.setattr("wonderq_storage.nats.child_server.subprocess.Popen", Interrupted)
    options = {"name": "a", "peers": "a=127.0.0.1", "data": str(tmp_path / "d"), "nats_port": str(free_ports(1)[0])}
    cluster, settings, _ = load_cluster(options, {})
    with Signals(), ExitStack() as stack:
        open_nats(cluster, settings, stack)
    [process] = started
    has_ended = process.poll() is not None
    process.kill()
    process.wait()
    assert has_ended
