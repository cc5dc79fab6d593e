"""`wonderq serve --log` processes that share a log, and a client that finds the one that serves."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats.local_servers import free_ports

_ROOT = Path(__file__).parents[2]

#: A request that takes longer has an unknown outcome.
_REQUEST_S = 40.0


#: Status of a request to a process that does not listen.
NOT_SENT = -1


class Reply(NamedTuple):
    """An answer; status 0 for none, so that nobody knows whether the request was carried out."""

    status: int
    json: Any


def request(port: int, method: str, path: str, body: Any = None, *, host: str = "127.0.0.1") -> Reply:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=_REQUEST_S)
    try:
        connection.request(
            method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        data = response.read()
        return Reply(response.status, json.loads(data) if data.startswith((b"{", b"[")) else data)
    except ConnectionRefusedError:
        return Reply(NOT_SENT, None)
    except (OSError, http.client.HTTPException):
        return Reply(0, None)
    finally:
        connection.close()


class SharedProcess:
    """One process. Its standard error is appended to a file."""

    host = "127.0.0.1"
    """Address that it listens on."""
    prefix: Sequence[str] = ()
    """Command that runs another command on its machine."""
    program: Sequence[str] = ("wonderq",)
    """Module that is run as the command `wonderq`, with its first arguments."""

    def __init__(self, folder: Path, name: str, log: str, *options: str) -> None:
        self.name = name
        self.stderr = folder / f"{name}.stderr"
        (self.port,) = free_ports(1)
        self._folder = folder
        self._options = ["--log", log, *options] if log else list(options)
        self.start()

    @property
    def command(self) -> list[str]:
        """The command without its options."""
        return ["serve"]

    def start(self) -> None:
        python = [*self.prefix, sys.executable, "-m", *self.program]
        command = [*python, *self.command, "--data", str(self._folder / self.name)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WONDERQ_")}
        with self.stderr.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, "--listen", f"{self.host}:{self.port}", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=_ROOT,
                env=inherited,
            )

    def __call__(self, method: str, path: str, body: Any = None) -> Reply:
        return request(self.port, method, path, body, host=self.host)

    @property
    def is_ready(self) -> bool:
        return self("GET", "/readyz").status == 200

    @property
    def status(self) -> str:
        """The status that it says it has; empty without an answer."""
        reply = self("GET", "/readyz")
        return str(reply.json.get("status", "")) if isinstance(reply.json, dict) else ""

    def await_status(self, *statuses: str) -> None:
        eventually(lambda: self.status in statuses, f"{self.name} to be {' or '.join(statuses)}, not {self.status!r}")

    def metric(self, name: str) -> float:
        """Return a metric without labels; not a number if it has no sample at present, or the process does not answer."""
        text = self("GET", "/metrics").json
        lines = text.decode().splitlines() if isinstance(text, bytes) else []
        return float(next((line.split()[-1] for line in lines if line.split(" ")[0] == name), "nan"))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self, patience_s: float = PATIENCE_S) -> int:
        """End it in order; return its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer than ``patience_s``.
        """
        self.process.terminate()
        return self.process.wait(patience_s)

    def log(self) -> str:
        return self.stderr.read_text()


class Pair:
    """Two processes on one log, or more."""

    def __init__(self, folder: Path, log: str, *options: str, names: Sequence[str] = ("a", "b")) -> None:
        self.all = [SharedProcess(folder, name, log, *options) for name in names]

    def owner(self) -> SharedProcess:
        """Wait until one of them serves, and return it."""

        def find() -> SharedProcess | None:
            return next((each for each in self.all if each.process.poll() is None and each.is_ready), None)

        found = eventually(find, "a process to serve")
        assert found is not None
        return found

    def other(self, than: SharedProcess) -> SharedProcess:
        return next(each for each in self.all if each is not than)

    def carry_out(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request to the process that serves. The first answer counts that is not a sure refusal."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            for each in self.all:
                reply = each(method, path, body)
                if reply.status == 503 and reply.json["error"]["code"] in ("standing_by", "no_quorum", "shutting_down"):
                    continue
                if reply.status == NOT_SENT:
                    continue
                return reply
            time.sleep(0.02)
        raise AssertionError("nobody serves")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self.all:
            with suppress(ProcessLookupError):
                each.thaw()
            each.kill()
