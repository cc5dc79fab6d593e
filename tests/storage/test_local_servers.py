"""NATS servers on this machine."""

from __future__ import annotations

import socket
import sys
from collections import deque
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.nats_servers import freeze, needs_nats, start
from tests.support.waiting import PATIENCE_S
from wonderq_storage.nats import Connection, local_servers
from wonderq_storage.nats.local_servers import cluster_of, find_program, free_ports


@needs_nats
@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_server_ends_when_it_is_stopped(tmp_path: Path, is_frozen: bool) -> None:
    (server,) = cluster_of(1, tmp_path, free_ports(1))
    server.stop()
    server.kill()
    start(server)
    process = server.process
    assert process is not None
    with closing(Connection(server.url)) as connection:
        assert connection.server_info(timeout_s=PATIENCE_S)["server_name"] == "n1"
    if is_frozen:
        freeze(server)
    server.stop(timeout_s=0.05 if is_frozen else PATIENCE_S)
    assert (process.poll() == -9) is is_frozen
    assert server.process is None
    server.stop()
    assert server.output.read_bytes()


def test_a_free_port_is_given_to_nobody_else(tmp_path: Path) -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        if sys.platform == "linux":
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))  # as one that the system chooses a port for: it shares none


def test_ports_are_given_back_at_the_end_and_the_oldest_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_servers, "_bound", deque())
    monkeypatch.setattr(local_servers, "_MOST_BOUND", 2)
    free_ports(3)
    kept = [each.getsockname()[1] for each in local_servers._bound]
    assert len(kept) == (2 if sys.platform == "linux" else 0)
    local_servers._give_ports_back()
    assert not local_servers._bound
    for port in kept:
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))


def test_elsewhere_ports_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_servers, "_bound", deque())
    monkeypatch.setattr("sys.platform", "darwin")
    (port,) = free_ports(1)
    assert not local_servers._bound
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_servers_sync_and_listen_on_loopback_only(tmp_path: Path) -> None:
    servers = cluster_of(3, tmp_path, [1, 2, 3])
    assert [each.name for each in servers] == ["n1", "n2", "n3"]
    assert [each.url for each in servers] == [f"nats://127.0.0.1:{port}" for port in (1, 2, 3)]
    routes = servers[0].routes
    for server in servers:
        text = server.configuration()
        assert "sync_interval: always" in text
        assert "max_payload: 8MB" in text
        assert "0.0.0.0" not in text
        assert text.count("127.0.0.1") == 4
        assert f'listen: "127.0.0.1:{server.route_port}"' in text
        assert all(f"nats://127.0.0.1:{port}" in text for port in routes if port != server.route_port)
    assert "cluster" not in cluster_of(1, tmp_path, [1])[0].configuration()


def test_the_program_beside_python_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "a" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "b"))
    assert find_program() is None
    for folder in ("b", "a"):
        program = tmp_path / folder / "nats-server"
        program.parent.mkdir()
        program.touch(mode=0o755)
        assert find_program() == str(program)
