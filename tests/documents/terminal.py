"""A terminal in which a test types the commands of a page: a shell in an empty folder, with a broker of its own.

Pages name the broker as 127.0.0.1:7979, and some folders by their full paths. Commands get a free port, and folders below that of
the page, instead; in their output it is the other way round. A command that runs until it is stopped, such as `wonderq serve`, has
a terminal of its own: it runs in the background, and writes to a file that is called after it.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S
from wonderq_storage.nats.local_servers import free_ports

#: Address of the broker on every page.
ADDRESS = "127.0.0.1:7979"

#: Full paths on pages.
FOLDERS = ("/var/lib/wonderq", "/mnt/copy", "/tmp/trial")

_ENDLESS = re.compile(r"^(?:wonderq (serve|worker|tail)|make (serve))\b")

#: Notice that bash prints when a command in the background was killed.
_NOTICE = re.compile(r"^bash: line \d+: +\d+ (Killed|Terminated) .*\n?", re.MULTILINE)

#: Functions for the comments of a page: `see NAME TEXT` waits until a command in a terminal of its own has printed the
#: text, `end NAME` kills it as `kill -9` does, and `stop NAME` stops it with SIGTERM.
_FUNCTIONS = r"""
see() { until grep -qF -- "$2" "$1.log"; do sleep 0.05; done; }
end() { kill -9 "$(cat "$1.pid")"; wait "$(cat "$1.pid")"; true; }
stop() { kill "$(cat "$1.pid")"; wait "$(cat "$1.pid")"; true; }
ready() { until curl --fail --silent --output /dev/null "$WONDERQ_URL/readyz"; do sleep 0.05; done; }
serve() { wonderq serve "$@" > serve.log 2>&1 & echo $! > serve.pid; ready; }
"""


class Terminal:
    """A shell with a folder, a port and an environment of its own. Leaving it ends everything that was started in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        [self._port] = free_ports(1)
        programs = Path(sys.executable).parent
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "WONDERQ_URL": f"http://127.0.0.1:{self._port}",
            "WONDERQ_LISTEN": f"127.0.0.1:{self._port}",
            "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "LC_ALL": "C.UTF-8",
        }
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=clean_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._count: dict[str, int] = {}
        self.run(_FUNCTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()

    def write(self, name: str, text: str) -> None:
        """Write a file, as a page asks for it."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text) + "\n")

    def run(self, command: str) -> tuple[int, list[str]]:
        """Type a command; return its exit code and its output, both streams together.

        Raises:
            AssertionError: it did not end within `PATIENCE_S`.
        """
        endless = _ENDLESS.match(command)
        if endless and "&" not in command:
            return self._start(command, endless)
        # `wonderq serve &` would write into the output of later commands.
        command = re.sub(r"(wonderq serve [^&>\n]*?) & sleep", r"\1 > serve.log 2>&1 & sleep", command)
        return self._run(re.sub(r"(wonderq serve .*) & sleep \d+", r"\1 & ready", command))

    def _run(self, command: str) -> tuple[int, list[str]]:
        mark = uuid.uuid4().hex
        self._type(f"{{ {self._here(command)}\n}} < /dev/null 2>&1; printf '\\n%s %d\\n' {mark} $?\n")
        out = self._read_until(mark, command)
        out = _NOTICE.sub("", out)
        text, _, code = out.rpartition(f"\n{mark} ")
        return int(code), self._there(text).splitlines()

    def _start(self, command: str, match: re.Match[str]) -> tuple[int, list[str]]:
        """Start a command that runs until it is stopped. A broker is ready then; others say in their logs when they are."""
        name = match[1] or match[2]
        self._count[name] = number = self._count.get(name, 0) + 1
        place = name if number == 1 or name == "serve" else f"{name}-{number}"
        if command.startswith("make"):
            command = "wonderq serve"
        return self._run(
            f"{command} > {place}.log 2>&1 & echo $! > {place}.pid" + ("; ready" if name == "serve" else "")
        )

    def _here(self, text: str) -> str:
        for each in FOLDERS:
            text = text.replace(each, str(self._folder / each.strip("/").replace("/", "-")))
        return text.replace(ADDRESS, f"127.0.0.1:{self._port}")

    def _there(self, text: str) -> str:
        for each in FOLDERS:
            text = text.replace(str(self._folder / each.strip("/").replace("/", "-")), each)
        return text.replace(f"127.0.0.1:{self._port}", ADDRESS)

    def _type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _read_until(self, mark: str, command: str) -> str:
        out = self._shell.stdout
        assert out is not None
        data, end = b"", time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while not (mark.encode() in data and data.endswith(b"\n")):
                left = end - time.monotonic()
                came = left > 0 and selector.select(left)
                assert came, f"{command!r} did not end within {PATIENCE_S:.0f} s, after the output:\n{data.decode()}"
                piece = os.read(out.fileno(), 1 << 16)
                assert piece, f"the shell ended in {command!r}, after the output:\n{data.decode()}"
                data += piece
        return data.decode().rstrip("\n")
