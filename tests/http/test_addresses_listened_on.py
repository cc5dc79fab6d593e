"""A server listens on every address that its host stands for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_client import read_reply, request, serving
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.httpd import listening
from wonderq.httpd.listening import bind, url_of


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the name "host" stand for given addresses."""
    real = socket.getaddrinfo

    def to(*addresses: str) -> str:
        def resolved(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
            names = addresses if host == "host" else (host,)
            return [found for name in names for found in real(name, port, *rest, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        return "host"

    return to


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for each in sockets:
        each.close()


@needs_ipv6
def test_a_name_stands_for_several_addresses(resolve: Any, bound: list[socket.socket]) -> None:
    bound += bind(resolve("::1", "127.0.0.1", "::1"), 0)
    port = bound[0].getsockname()[1]
    assert [each.getsockname()[:2] for each in bound] == [("127.0.0.1", port), ("::1", port)]


@needs_ipv6
@pytest.mark.parametrize(("addresses", "clients"), [(["::1", "127.0.0.1"], 2), (["::"], 1)])
def test_a_server_answers_on_all_of_them(broker: Broker, resolve: Any, addresses: list[str], clients: int) -> None:
    with serving(broker, host=resolve(*addresses)) as served:
        assert len(served.server.urls) == clients
        port = int(served.server.effective_port)
        for host in ("127.0.0.1", "::1") * 2:
            with socket.create_connection((host, port), PATIENCE_S) as connection:
                connection.sendall(request("GET", "/healthz"))
                assert read_reply(connection, "GET").status == 200
        assert served.server.counters.accepted == 4
    for host in ("127.0.0.1", "::1"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), PATIENCE_S)


@needs_ipv6
def test_one_address_of_ipv6_is_no_address_of_ipv4(broker: Broker) -> None:
    with serving(broker, host="::1") as served:
        assert served.server.urls == [url_of(("::1", served.server.effective_port))]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(served.server.effective_port)), PATIENCE_S)


def test_an_address_that_this_machine_lacks_is_left_out(
    resolve: Any, bound: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    bound += bind(resolve("203.0.113.1", "127.0.0.1"), 0)
    assert [each.getsockname()[0] for each in bound] == ["127.0.0.1"]
    assert "only: Cannot assign requested address" in caplog.text
    with pytest.raises(OSError, match="Cannot assign") as refused:
        bind(resolve("203.0.113.1", "203.0.113.2"), 0)
    assert refused.value.errno == errno.EADDRNOTAVAIL


def test_a_port_in_use_on_one_of_them_is_refused_and_nothing_is_bound(resolve: Any, bound: list[socket.socket]) -> None:
    taken = socket.create_server(("127.0.0.2", 0))
    bound.append(taken)
    port = taken.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        bind(resolve("127.0.0.1", "127.0.0.2"), port)
    bound += bind("127.0.0.1", port)


def test_port_0_takes_one_that_is_free_on_all(
    resolve: Any, bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    bind_all = listening._bind_all

    def unlucky(addresses: Any) -> list[socket.socket]:
        attempts.append(addresses)
        if len(attempts) < 3:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return bind_all(addresses)

    monkeypatch.setattr(listening, "_bind_all", unlucky)
    bound += bind(resolve("127.0.0.1", "127.0.0.2"), 0)
    assert len(attempts) == 3
    assert len({each.getsockname()[1] for each in bound}) == 1
