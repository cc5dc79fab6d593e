"""The NATS server of a node of a cluster, as a child process of the node."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from wonderq_storage.nats.address import Address
from wonderq_storage.nats.tls_files import TlsFiles

logger = logging.getLogger("wonderq.nats")

_HOST = "127.0.0.1"

_USER = "wonderq"

#: User of the system account, which may remove a server from JetStream for ever.
_SYSTEM_USER = "system"

_CONFIG = "nats.conf"

#: Folder of JetStream.
_STORE = "store"

#: Pause before a server that has ended is started again.
_RESTART_S = 1.0

_POLL_S = 0.2

#: Time for the handshake of TLS with another server. Both may be starting on busy machines.
_HANDSHAKE_S = 5


class ChildServer:
    """A NATS server with JetStream. It is started again if it ends by itself.

    ``folder`` gets its configuration, its data and its output. ``port`` is for this node alone, on loopback. ``routes``
    are the places, as (host, port), of the servers of all nodes by their names, ``name`` included; without others, the
    server is alone. ``route_host`` is the address on which it waits for the others, who must know ``secret``. With
    ``tls``, which must have all files, it speaks only TLS with them: each must prove that it has a certificate for its
    host.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        name: str,
        port: int,
        route_host: str,
        routes: Mapping[str, tuple[str, int]],
        secret: str = "",
        tls: TlsFiles | None = None,
    ) -> None:
        self._program = program
        self._folder = folder
        self._name = name
        self._port = port
        self._route_host = route_host
        self._routes = routes
        self._secret = secret
        self._tls = tls
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._launching = threading.Lock()
        self._launched: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="wonderq-nats-server", daemon=True)

    @property
    def address(self) -> Address:
        """Its address for this node."""
        return Address(_HOST, self._port, tls=False, user=_USER, password=self._password)

    @property
    def output(self) -> Path:
        """File with what the server prints."""
        return self._folder / "output"

    @property
    def pid(self) -> int | None:
        """Number of its process, or None if it does not run."""
        process = self._process
        return None if process is None else process.pid

    def configuration(self) -> str:
        """Return the contents of the configuration file."""
        lines = [
            "# wonderq cluster start writes this file. Changes are lost at the next start.",
            f"server_name: {_quoted(self._name)}",
            f'listen: "{_HOST}:{self._port}"',
            f"pid_file: {_quoted(str(self._pid_file))}",
            f"jetstream {{ store_dir: {_quoted(str(self._folder / _STORE))}, sync_interval: always }}",
            "max_payload: 8MB",
            "ping_interval: 1s",
            "ping_max: 2",
            f"""accounts {{
  SYS {{
    users: [{{ user: {_SYSTEM_USER}, pass: "{self._password}" }}]
    exports: [{{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream }}]
  }}
  WONDERQ {{
    jetstream: enabled
    users: [{{ user: {_USER}, password: "{self._password}" }}]
    imports: [{{ service: {{ account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" }} }}]
  }}
}}
system_account: SYS""",
        ]
        if len(self._routes) > 1:
            credentials = f"{_USER}:{quote(self._secret, safe='')}@" if self._secret else ""
            others = ", ".join(
                f'"nats-route://{credentials}{_host(host)}:{port}"'
                for name, (host, port) in self._routes.items()
                if name != self._name
            )
            _, own_port = self._routes[self._name]
            guard = f", authorization {{ user: {_USER}, password: {_quoted(self._secret)} }}" if self._secret else ""
            listen = f"{_host(self._route_host)}:{own_port}"
            tls = f", tls {{ {self._tls_fields(self._tls)} }}" if self._tls is not None else ""
            lines.append(f'cluster {{ name: wonderq, listen: "{listen}", routes: [{others}]{guard}{tls} }}')
        return "\n".join([*lines, ""])

    @staticmethod
    def _tls_fields(tls: TlsFiles) -> str:
        """Return the settings of TLS. NATS verifies the certificates of both ends of a route, whatever they say."""
        files = {"ca_file": tls.authority, "cert_file": tls.certificate, "key_file": tls.key}
        fields = [f"{name}: {_quoted(str(file.absolute()))}" for name, file in files.items() if file is not None]
        return ", ".join([*fields, f"timeout: {_HANDSHAKE_S}"])

    @property
    def _pid_file(self) -> Path:
        return self._folder / "nats.pid"

    def start(self) -> None:
        """Start the server. One that a killed process has left behind ends first.

        A signal handler may raise an exception at any moment. `stop` then ends what was started.

        Raises:
            OSError: the folder cannot be written, a port is in use, or the program cannot be run.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._end_leftover()
        self._check_ports()
        self._write_configuration()
        self._thread.start()
        self._launched.result()

    def _write_configuration(self) -> None:
        """Write the configuration file. A crash leaves the former one or this one, so that `former_name` is right."""
        config = self._folder / _CONFIG
        unfinished = config.with_name(config.name + ".tmp")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(self.configuration())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(config)

    def _check_ports(self) -> None:
        """Check that nobody else uses the ports, because the server would be started again and again.

        Raises:
            OSError: somebody does.
        """
        places = [(_HOST, self._port)]
        if len(self._routes) > 1:
            places.append((self._route_host, self._routes[self._name][1]))
        for host, port in places:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                socket.create_server((host, port), family=family).close()
            except OSError as error:
                raise OSError(error.errno, f"port {port} of {host} cannot be used: {error.strerror}") from error

    def _run(self) -> None:
        """Start the server, and keep it running.

        The main thread does not start it: the exception of a signal there could make it lose the new process.
        """
        try:
            self._launch()
        except BaseException as error:  # noqa: BLE001 - `start` raises it
            self._launched.set_exception(error)
            return
        self._launched.set_result(None)
        self._watch()

    def _launch(self) -> None:
        with self._launching, self.output.open("ab") as output:
            if self._ending.is_set():
                return
            self._process = subprocess.Popen(  # noqa: S603 - the path is that of nats-server
                [self._program, "-c", str(self._folder / _CONFIG)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C ends the node, which hands its shards over first
            )

    def _watch(self) -> None:
        while not self._ending.wait(_POLL_S):
            process = self._process
            if process is not None and process.poll() is not None:
                logger.error("the NATS server has ended. %s has its output. It is started again", self.output)
                if not self._ending.wait(_RESTART_S):
                    self._launch_again()

    def _launch_again(self) -> None:
        """Start the server, if the system has room for it now. `_watch` tries again otherwise."""
        try:
            self._launch()
        except OSError as error:  # no descriptor, memory or process is free
            logger.error("the NATS server cannot be started at present: %s", error)  # noqa: TRY400 - no bug

    def reload(self) -> None:
        """Let the server read its certificates again. Connections that exist go on with the former ones.

        Raises:
            OSError: the files cannot be used. The server goes on with what it has.
        """
        if self._tls is None:
            return
        self._tls.context()
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the server in order, or kill it after ``timeout_s``. Idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._launching:  # a thread whose start was interrupted may not count as alive yet
            process, self._process = self._process, None
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)
            process.kill()
            process.wait()

    def _end_leftover(self, timeout_s: float = 10.0) -> None:
        """End the server of an earlier process of this node that was killed."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return
        if not self._runs(pid):
            return
        logger.warning("a NATS server of an earlier process still runs, and ends now")
        deadline_s = time.monotonic() + timeout_s
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            while self._runs(pid):
                if time.monotonic() > deadline_s:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)

    def _runs(self, pid: int) -> bool:
        """Return whether a process is a server with this configuration: another program may have the number now."""
        try:
            return os.fsencode(self._folder / _CONFIG) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False


def former_name(folder: Path) -> str | None:
    """Return the name of the server that has stored something in a folder; None if none has, or its name is not known.

    Each server knows which ones have a copy of a log by their names. A server that finds copies in its folder, and is
    not expected to have them under its name, removes them.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        text = (folder / _CONFIG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    found = re.search(r'^server_name: "(.*)"$', text, re.MULTILINE)
    return found[1] if found is not None and (folder / _STORE).exists() else None


def read_address(folder: Path, *, system: bool = False) -> Address:
    """Return the address of the server whose configuration is in a folder, for another program on its machine.

    ``system`` asks for the address with the user of the system account.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not one that `ChildServer` has written.
    """
    text = (folder / _CONFIG).read_text(encoding="utf-8")
    listen = re.search(rf'^listen: "{re.escape(_HOST)}:(\d+)"$', text, re.MULTILINE)
    password = re.search(rf'user: {_USER}, password: "(\w+)"', text)
    if listen is None or password is None or (system and _SYSTEM_USER not in text):
        raise ValueError(f"{folder / _CONFIG} is not one that this version of wonderq cluster start has written")
    return Address(_HOST, int(listen[1]), tls=False, user=_SYSTEM_USER if system else _USER, password=password[1])


def _quoted(text: str) -> str:
    """Return a text as a value of a configuration file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
