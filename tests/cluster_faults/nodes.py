"""Three nodes, each with its NATS server: on networks of their own with root, otherwise on ports of loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.cluster_faults.crew import SHARDS
from tests.support.cluster_processes import NodeProcess
from tests.support.commands import COMMAND
from tests.support.environments import clean_environment
from tests.support.networks import Networks
from wonderq_storage.nats.local_servers import free_ports

NAMES = "abc"

#: The log of each shard; a NATS server reserves that for each.
_LOG_BYTES = 128 << 20

_ROUTE_PORT = 7981

_PROGRAM = "tests.cluster_faults.node_process"


class Placed(NamedTuple):
    """Owner and epoch of each shard, and the node that should own it, as one node sees that."""

    owners: tuple[tuple[str | None, int], ...]
    wanted: tuple[str | None, ...]


class Node(NodeProcess):
    """One node. Its clock may be wrong."""

    program = (_PROGRAM, "0")

    def __init__(self, folder: Path, name: str, peers: str, networks: Networks | None, *options: str) -> None:
        if networks is not None:
            number = NAMES.index(name)
            self.host, self.prefix = networks.hosts[number], networks.prefix(number)
        super().__init__(folder, name, peers, *options)

    def set_clock(self, ahead_ms: int) -> None:
        """Let the clock be wrong from the next start on."""
        self.program = (_PROGRAM, str(ahead_ms))

    def signal_nats(self, sign: signal.Signals) -> None:
        """Send a signal to its NATS server, if there is one at present."""
        with suppress(OSError, ValueError):
            if pid := self.nats_pid:
                os.kill(pid, sign)

    def placed(self) -> Placed | None:
        """Return where the shards are, or None without an answer."""
        found = self.cluster()
        if found is None:
            return None
        shards: list[dict[str, Any]] = found["shards"]
        return Placed(
            tuple((each["owner"], each["epoch"]) for each in shards), tuple(each["wanted"] for each in shards)
        )

    def lose_folder(self) -> None:
        """Remove all files of the node and of its NATS server, which must have ended."""
        shutil.rmtree(self.folder)

    @property
    def are_copies_whole(self) -> bool:
        """Whether `wonderq cluster check` on its machine finds each copy of each log whole."""
        command = [*self.prefix, *COMMAND, "cluster", "check", "--data", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True, env=clean_environment()).returncode == 0

    def end(self) -> None:
        self.signal_nats(signal.SIGCONT)
        super().end()


class Nodes:
    """All nodes, as a context."""

    def __init__(self, folder: Path, networks: Networks | None) -> None:
        (folder / "secret").write_text("the secret of a cluster of tests\n")
        ports = [_ROUTE_PORT] * len(NAMES) if networks else free_ports(len(NAMES))
        hosts = networks.hosts if networks else ["127.0.0.1"] * len(NAMES)
        peers = ",".join(f"{name}={host}:{port}" for name, host, port in zip(NAMES, hosts, ports, strict=True))
        options = ["--shards", str(SHARDS), "--log-bytes", str(_LOG_BYTES), "--secret-file", str(folder / "secret")]
        if networks:
            options.append("--insecure")
        self._networks = networks
        self.all: list[Node] = []
        try:
            for name in NAMES:
                self.all.append(Node(folder, name, peers, networks, *options))
        except BaseException:
            self.__exit__()
            raise

    def __iter__(self) -> Iterator[Node]:
        return iter(self.all)

    @property
    def url(self) -> str:
        """Addresses of all nodes, separated by commas."""
        return ",".join(each.url for each in self.all)

    def cut_off(self, node: Node, *, outgoing: bool, incoming: bool) -> None:
        """Lose all that a node and its NATS server send to the others, or they to it."""
        assert self._networks is not None
        self._networks.cut_off(NAMES.index(node.name), outgoing=outgoing, incoming=incoming)

    def heal(self, node: Node, *, outgoing: bool, incoming: bool) -> None:
        """Undo `cut_off`."""
        assert self._networks is not None
        self._networks.heal(NAMES.index(node.name), outgoing=outgoing, incoming=incoming)

    def part(self, one: Node, other: Node) -> None:
        """Lose all that two nodes and their NATS servers send to each other. The third one hears both."""
        assert self._networks is not None
        self._networks.part(NAMES.index(one.name), NAMES.index(other.name))

    def rejoin(self, one: Node, other: Node) -> None:
        """Undo `part`."""
        assert self._networks is not None
        self._networks.rejoin(NAMES.index(one.name), NAMES.index(other.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self.all:
            each.end()
