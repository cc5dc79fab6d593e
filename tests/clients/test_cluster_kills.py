"""A slice of `tests.clients.cluster_kills`, and what it counts as an error."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import cluster_kills
from tests.clients.cluster_kills import ThreadLoad
from tests.support.cutting_proxy import Balancer
from tests.support.nats_servers import needs_nats
from tests.support.waiting import eventually
from wonderq_storage.nats.local_servers import free_ports


class Answering(threading.Thread):
    """Answers each connection to a port with the number of the port."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(str(self.port).encode())

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def test_a_balancer_uses_all_nodes_that_listen_and_no_other() -> None:
    (closed,) = free_ports(1)
    with (
        closing(Answering()) as one,
        closing(Answering()) as two,
        Balancer([one.port, closed, two.port], 1) as balancer,
    ):
        port = int(balancer.url.rpartition(":")[2])

        def answer() -> int:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                return int(connection.recv(100))

        assert {answer() for _ in range(40)} == {one.port, two.port}
        eventually(lambda: balancer.ended_connections == 40, "the connections to end")


def test_a_call_that_raises_is_an_error_and_the_next_call_follows() -> None:
    load, end = ThreadLoad(), threading.Event()
    numbers: list[int] = []

    def act(number: int) -> None:
        numbers.append(number)
        if number == 1:
            raise ConnectionError("gone")
        load._acknowledged.add(f"m{number}")

    load.run(end, act)
    eventually(lambda: len(numbers) > 3, "calls after the error")
    end.set()
    load.close()
    assert load.errors() == ["act: ConnectionError('gone')"]
    assert cluster_kills.lost(load) == {f"m{number}" for number in numbers} - {"m1"}


def test_errors_of_a_celery_worker_are_found_and_its_reconnections_are_none() -> None:
    lost = (
        "[2026-11-30 10:00:00,000: WARNING/MainProcess] consumer: Connection to broker lost. Trying to re-establish it"
    )
    failed = "[2026-11-30 10:00:01,000: ERROR/MainProcess] Task handle[1] raised unexpected: KeyError()"
    ended = "[2026-11-30 10:00:02,000: CRITICAL/MainProcess] Unrecoverable error: KeyError()"
    assert cluster_kills.errors_in([lost, "Traceback (most recent call last):", failed, ended]) == [failed, ended]


@needs_nats
@pytest.mark.slow
def test_clients_of_each_library_go_on_when_any_node_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("pycurl")
    pytest.importorskip("celery")
    lines: list[str] = []
    assert cluster_kills.run(tmp_path, kills=2, seed=7, say=lines.append, is_slice=True) == [], lines
