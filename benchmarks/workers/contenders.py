"""The workers that are compared, each with its broker. All run one worker with the same number of slots.

Redis syncs its append-only file before each answer, as WonderQ does by default. Tasks are sent without that, and the
setting is in force before the worker starts.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.on_wonderq import WonderQ
from benchmarks.peers.server import Server, missing_program
from benchmarks.workers.counting import REDIS_VARIABLE

_INSTALL = "pip install --group peers"


class Contender(Protocol):
    """A worker and its broker."""

    name: str
    module: str
    """Module of the tasks, and of the function that sends them."""
    task: str
    share: int
    """It gets one task in ``share``: slower workers would take very long."""

    def missing(self) -> str | None:
        """Return None, or a text that names the missing part and the command that installs it."""

    def start(self, folder: Path) -> dict[str, str]:
        """Start the broker on a new folder; return the environment variable that names it."""

    def filled(self) -> None:
        """Do what the broker needs between the sends and the start of the worker."""

    def command(self, slots: int) -> list[str]:
        """Return the arguments of Python that start the worker."""

    def left(self) -> int:
        """Return the number of tasks that are not acknowledged."""

    def stop(self) -> None:
        """End the broker, if it was started."""


class OnWonderQ:
    """A worker of WonderQ."""

    module = "benchmarks.workers.wonderq_tasks"
    share = 1

    def __init__(self, name: str, task: str) -> None:
        self.name = name
        self.task = task
        self._peer = WonderQ()
        self._url = ""

    def missing(self) -> str | None:
        return None

    def start(self, folder: Path) -> dict[str, str]:
        self._url = self._peer.start(folder)
        return {"WONDERQ_URL": self._url}

    def filled(self) -> None:
        """Do nothing: everything is durable."""

    def command(self, slots: int) -> list[str]:
        options = ["--concurrency", str(slots), "--log-level", "warning"]
        return ["-m", "wonderq", "worker", f"{self.module}:app", *options]

    def left(self) -> int:
        from wonderq import Client  # noqa: PLC0415 - the others need no client

        with Client(self._url) as client:
            return sum(client.queue("tasks").info().counts.values())

    def stop(self) -> None:
        self._peer.stop()


class _OnRedis:
    packages: tuple[str, ...] = ()
    task = "empty"

    def __init__(self) -> None:
        self._server: Server | None = None
        self._redis: Any = None

    def missing(self) -> str | None:
        absent = [each for each in ("redis", *self.packages) if importlib.util.find_spec(each) is None]
        if absent:
            return f"no Python package {absent[0]}: {_INSTALL}"
        return missing_program("redis-server", "apt-get install redis-server")

    def start(self, folder: Path) -> dict[str, str]:
        import redis  # noqa: PLC0415 - it may be missing

        from benchmarks.peers.on_redis import start_redis  # noqa: PLC0415

        self._server, port = start_redis(folder)
        self._redis = redis.Redis(port=port)
        self._redis.config_set("appendfsync", "no")
        return {REDIS_VARIABLE: f"redis://127.0.0.1:{port}/0"}

    def filled(self) -> None:
        self._redis.config_set("appendfsync", "always")
        assert self._redis.config_get("appendfsync")["appendfsync"] == "always"

    def stop(self) -> None:
        if self._redis is not None:
            self._redis.close()
        if self._server is not None:
            self._server.stop()


class OnCelery(_OnRedis):
    """A worker of Celery, which acknowledges after the task, so that none is lost."""

    module = "benchmarks.workers.celery_tasks"
    packages = ("celery",)
    share = 20

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.name = f"celery, {pool}"
        self._pool = pool

    def command(self, slots: int) -> list[str]:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
        slots_of_pool = [] if self._pool == "prefork" else ["--concurrency", str(slots)]  # by default one per core
        return ["-m", "celery", "-A", self.module, "worker", "--pool", self._pool, *slots_of_pool, *quiet]

    def left(self) -> int:
        return int(self._redis.llen("celery")) + int(self._redis.hlen("unacked"))


class OnDramatiq(_OnRedis):
    """A worker of dramatiq, which acknowledges after the task."""

    name = "dramatiq"
    module = "benchmarks.workers.dramatiq_tasks"
    packages = ("dramatiq",)
    share = 5

    def command(self, slots: int) -> list[str]:
        return ["-m", "dramatiq", self.module, "--processes", "1", "--threads", str(slots)]

    def left(self) -> int:
        return int(self._redis.hlen("dramatiq:default.msgs"))


def contenders() -> list[Contender]:
    """Return all, WonderQ first."""
    return [
        OnWonderQ("wonderq, threads", "empty"),
        OnWonderQ("wonderq, asyncio", "empty_coroutine"),
        OnCelery("threads"),
        OnCelery("prefork"),
        OnDramatiq(),
    ]
