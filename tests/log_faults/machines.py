"""Three machines, each with a NATS server, and a place for an owner.

With root, a machine is a network namespace with a file system of its own, so its network can be cut, its disk can be
full, and its power can fail. Without root, it is a folder and ports on loopback.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.filesystem import Medium, why_not
from tests.support.nats_servers import freeze, start, thaw, wait_until_ready
from tests.support.networks import Networks, why_no_networks
from wonderq_storage.nats.local_servers import LocalServer, free_ports

COUNT = 3

_CLIENT_PORT, _ROUTE_PORT = 4222, 6222

_IMAGE_BYTES = 160 << 20
_STORE_BYTES = 96 << 20


def why_no_machines() -> str:
    """Say why this machine cannot stand in for three with networks and disks of their own, or nothing."""
    return why_no_networks() or why_not("ext4") or ""


@dataclass
class Server(LocalServer):
    """A NATS server on a machine."""

    host: str = "127.0.0.1"
    others: Sequence[str] = ()
    """Addresses of the routes of the other servers."""
    prefix: Sequence[str] = ()
    """Command that runs another command on this machine."""
    sync: str = "always"
    """Value of sync_interval."""
    printed: Path = Path(os.devnull)
    """File with what it prints, in all its lives."""

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    @property
    def output(self) -> Path:
        return self.printed

    @property
    def store(self) -> Path:
        """Folder of all that it stores."""
        return self.folder / "store"

    def configuration(self) -> str:
        storage = f'store_dir: "{self.store}", sync_interval: {self.sync}, max_file_store: {_STORE_BYTES}'
        routes = ", ".join(f'"nats://{each}"' for each in self.others)
        return "\n".join(
            [
                f"server_name: {self.name}",
                f'listen: "{self.host}:{self.port}"',
                f"jetstream {{ {storage} }}",
                "max_payload: 8MB",
                "ping_interval: 1s",
                "ping_max: 2",
                f'cluster {{ name: wonderq, listen: "{self.host}:{self.route_port}", routes: [{routes}] }}',
                "",
            ]
        )

    def command(self, program: str, config: Path) -> list[str]:
        return [*self.prefix, *super().command(program, config)]


class Machine:
    """A server, and a place for an owner beside it."""

    def __init__(self, server: Server, medium: Medium | None) -> None:
        self.server = server
        self.medium = medium

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def prefix(self) -> Sequence[str]:
        """Command that runs another command on this machine."""
        return self.server.prefix

    @property
    def data(self) -> Path:
        """Folder of an owner."""
        return self.server.folder / "owner"

    def start(self) -> None:
        start(self.server)

    def kill(self) -> None:
        """Kill the server, also one that is frozen."""
        self.server.kill()

    def freeze(self) -> None:
        freeze(self.server)

    def thaw(self) -> None:
        thaw(self.server)

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended by itself."""
        process = self.server.process
        return process is not None and process.poll() is not None

    def flip_a_bit(self, chance: random.Random) -> str:
        """Flip a bit of a file of the server, which must be stopped; return its place."""
        files = sorted(each for each in self.server.store.rglob("*") if each.is_file() and each.stat().st_size)
        sizes = [each.stat().st_size for each in files]
        # Most of the bytes are messages, and most of the files are something else.
        [file] = chance.choices(files, sizes if chance.random() < 0.5 else None)
        place, bit = chance.randrange(file.stat().st_size), chance.randrange(8)
        with file.open("r+b") as opened:
            opened.seek(place)
            [byte] = opened.read(1)
            opened.seek(place)
            opened.write(bytes([byte ^ 1 << bit]))
        return f"bit {bit} of byte {place} of {file.relative_to(self.server.store)}"

    def wipe(self) -> None:
        """Remove all files of the server, which must be stopped."""
        shutil.rmtree(self.server.store)

    def fill(self) -> None:
        """Take all room of the machine's file system."""
        assert self.medium is not None
        with (self.medium.root / "filler").open("ab") as file:
            for step in (1 << 20, 1 << 14, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)

    def make_room(self) -> None:
        assert self.medium is not None
        (self.medium.root / "filler").unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Throw away all that is not on the medium. The server and the owner must be dead."""
        assert self.medium is not None
        self.medium.cut()

    def regain_power(self) -> None:
        """Mount what is on the medium, and start the server."""
        assert self.medium is not None
        self.medium.revive()
        self.start()


class Machines:
    """All machines, with their servers up, as a context."""

    def __init__(self, folder: Path, *, apart: bool, sync: str = "always") -> None:
        """Set them up in a folder. ``apart`` gives each a network and a disk; see `Networks`."""
        self._networks = Networks(COUNT) if apart else None
        self._stack = ExitStack()
        ports = free_ports(2 * COUNT)
        hosts = self._networks.hosts if self._networks else ["127.0.0.1"] * COUNT
        routes = [f"{host}:{_ROUTE_PORT if apart else ports[COUNT + at]}" for at, host in enumerate(hosts)]
        self.all: list[Machine] = []
        for number, host in enumerate(hosts):
            medium = Medium(folder / f"medium-{number + 1}", "ext4", image_bytes=_IMAGE_BYTES) if apart else None
            server = Server(
                name=f"n{number + 1}",
                folder=(medium.root if medium else folder) / f"n{number + 1}",
                port=_CLIENT_PORT if apart else ports[number],
                route_port=_ROUTE_PORT if apart else ports[COUNT + number],
                host=host,
                others=[each for each in routes if each != routes[number]],
                prefix=self._networks.prefix(number) if self._networks else [],
                sync=sync,
                printed=folder / f"n{number + 1}.output",
            )
            self.all.append(Machine(server, medium))

    def urls(self, first: Machine) -> str:
        """Return the addresses of all servers, that of a machine first."""
        return ",".join([first.server.url, *(each.server.url for each in self.all if each is not first)])

    def named(self, name: str) -> Machine:
        return next(each for each in self.all if each.name == name)

    def others(self, machine: Machine) -> list[Machine]:
        return [each for each in self.all if each is not machine]

    def __enter__(self) -> Self:
        with self._stack:
            if self._networks:
                self._stack.enter_context(self._networks)
            for each in self.all:
                if each.medium is not None:
                    self._stack.enter_context(each.medium)
                self._stack.callback(each.kill)
                each.start()
            wait_until_ready([each.server for each in self.all])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def cut_off(self, machine: Machine, *, outgoing: bool, incoming: bool) -> None:
        """Lose all that a machine sends to the others, or they to it. Clients still reach all of them."""
        assert self._networks is not None
        self._networks.cut_off(self.all.index(machine), outgoing=outgoing, incoming=incoming)

    def block_routes(self, machine: Machine) -> None:
        """Lose all that a server and the other servers send to each other. Brokers and clients still reach all of them."""
        assert self._networks is not None
        self._networks.block(self.all.index(machine), _ROUTE_PORT)

    def unblock_routes(self, machine: Machine) -> None:
        """Undo `block_routes`."""
        assert self._networks is not None
        self._networks.unblock(self.all.index(machine), _ROUTE_PORT)

    def heal(self, machine: Machine, *, outgoing: bool, incoming: bool) -> None:
        """Undo `cut_off`."""
        assert self._networks is not None
        self._networks.heal(self.all.index(machine), outgoing=outgoing, incoming=incoming)
