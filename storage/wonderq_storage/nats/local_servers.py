"""NATS servers on this machine, for development and tests: one, or a cluster. They listen on loopback only."""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

_HOST = "127.0.0.1"

#: Sockets that keep ports of `free_ports` from others, the oldest first, and the most of them.
_bound: deque[socket.socket] = deque()
_MOST_BOUND = 256

#: Everybody may use the server, and ask whether it syncs.
OPEN_ACCOUNTS = """accounts {
  SYS { exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream }] }
  WONDERQ {
    jetstream: enabled
    users: [{ user: wonderq, password: wonderq }]
    imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]
  }
}
system_account: SYS
no_auth_user: wonderq"""


def find_program() -> str | None:
    """Return the path of nats-server, beside this Python or on the path, or None."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("nats-server", path=beside) or shutil.which("nats-server")


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses.

    On Linux, nobody else is given one of them while this process lives, but for the oldest ones if there are very many:
    a socket stays bound to each, beside which a server can listen. Elsewhere no server could, so another process may
    take a port before its server starts.
    """
    found = [socket.socket() for _ in range(count)]
    with ExitStack() as stack:
        for each in found:
            stack.callback(each.close)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((_HOST, 0))
        ports: list[int] = [each.getsockname()[1] for each in found]
        if sys.platform == "linux":
            _bound.extend(found)
            stack.pop_all()
    while len(_bound) > _MOST_BOUND:
        _bound.popleft().close()
    return ports


@atexit.register
def _give_ports_back() -> None:
    """Close what is left, so that Python does not warn of it at its end."""
    while _bound:
        _bound.popleft().close()


@dataclass
class LocalServer:
    """A server with JetStream, which syncs before each acknowledgement."""

    name: str
    folder: Path
    """Folder of its configuration, its data and its output."""
    port: int
    route_port: int = 0
    """Port for the other servers of its cluster, or 0 without a cluster."""
    accounts: str = OPEN_ACCOUNTS
    """Part of the configuration that says who may use the server."""
    routes: Sequence[int] = ()
    """Ports of all servers of the cluster."""
    ping_interval_s: int = 1
    """The server ends a connection that has answered no ping for about three times this."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"nats://{_HOST}:{self.port}"

    @property
    def output(self) -> Path:
        """File with what the server prints."""
        return self.folder / "output"

    def configuration(self) -> str:
        """Return the contents of the configuration file."""
        lines = [
            f"server_name: {self.name}",
            f'listen: "{_HOST}:{self.port}"',
            f'jetstream {{ store_dir: "{self.folder / "store"}", sync_interval: always }}',
            "max_payload: 8MB",
            f"ping_interval: {self.ping_interval_s}s",
            "ping_max: 2",
            self.accounts,
        ]
        if self.route_port:
            others = ", ".join(f'"nats://{_HOST}:{each}"' for each in self.routes if each != self.route_port)
            lines.append(f'cluster {{ name: wonderq, listen: "{_HOST}:{self.route_port}", routes: [{others}] }}')
        return "\n".join([*lines, ""])

    def command(self, program: str, config: Path) -> list[str]:
        """Return the command that runs the server with a configuration file."""
        return [program, "-c", str(config)]

    def start(self, program: str) -> None:
        """Start the server. It gets no signal of the terminal, so the caller ends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "nats.conf"
        config.write_text(self.configuration(), encoding="utf-8")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - the path is that of nats-server
                self.command(program, config),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the server in order, or kill it after ``timeout_s``. Idempotent."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Kill the server and wait for its end. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def cluster_of(count: int, folder: Path, ports: Sequence[int]) -> list[LocalServer]:
    """Return servers n1, n2, ... that form a cluster if they are several."""
    routes = free_ports(count) if count > 1 else [0]
    return [
        LocalServer(f"n{number}", folder / f"n{number}", port, route_port, routes=routes)
        for number, (port, route_port) in enumerate(zip(ports, routes, strict=True), 1)
    ]
