"""A broker in a process of its own, as a test holds it."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wonderq.testing.launcher import BrokerEndedError, Process, launch

if TYPE_CHECKING:
    from wonderq.client.asynchronous import AsyncClient
    from wonderq.client.sync import Client

__all__ = ["Broker", "BrokerEndedError", "broker"]


def broker() -> Broker:
    """Start a broker with an empty folder on a free port of 127.0.0.1.

    Use it as a context manager, or call `Broker.close` at the end.

    Raises:
        BrokerEndedError: it did not start; the message has its log.
    """
    return Broker()


class Broker:
    """A running broker. It is the program that `wonderq serve` runs, except that a test can move its clock.

    It writes to its files before it answers, and leaves the sync to the system: it forgets nothing when it is killed,
    and a test does not wait for the disk. It ends with the process that started it, whatever ends that one.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wonderq-"))
        self._clients: list[Client] = []
        self._ahead_s = 0.0
        self._port = 0
        self._process: Process | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker {self.url}>"

    @property
    def url(self) -> str:
        """Address of the broker. It stays the same when the broker is restarted."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def folder(self) -> Path:
        """Folder of the log. `close` deletes it."""
        return self._folder / "data"

    @property
    def now(self) -> datetime:
        """Time of the broker's clock."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def client(self, **options: Any) -> Client:
        """Return a client of this broker, with the options of `wonderq.Client`. `close` closes it."""
        from wonderq.client.sync import Client  # noqa: PLC0415  # so that starting pytest does not load it

        client = Client(self.url, **options)
        self._clients.append(client)
        return client

    def async_client(self, **options: Any) -> AsyncClient:
        """Return an asyncio client of this broker, with the options of `wonderq.AsyncClient`. Close it yourself."""
        from wonderq.client.asynchronous import AsyncClient  # noqa: PLC0415  # needs aiohttp

        return AsyncClient(self.url, **options)

    def advance(self, seconds: float) -> None:
        """Move the broker's clock forward.

        When this returns, the broker has done what became due: claims and delays have ended, schedules have produced,
        and messages past their retention are gone. Consumers that wait receive what became available. The clock of
        this process does not move, and neither do limits per second and the waiting times of long polls.

        Raises:
            ValueError: ``seconds`` is negative. Time does not go back.
            BrokerEndedError: the broker does not run.
        """
        if seconds < 0:
            raise ValueError(f"the clock moves forward only, and not by {seconds} seconds")
        self._running().advance(seconds)
        self._ahead_s += seconds

    def stop(self) -> None:
        """Stop the broker as SIGTERM does: it answers open requests first. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def kill(self) -> None:
        """End the broker at once, as a crash would, by SIGKILL. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        """Stop the broker if it runs, and start it with the same folder, address and time.

        Raises:
            BrokerEndedError: it did not start; the message has its log.
        """
        self.stop()
        self._start()

    def close(self) -> None:
        """End the broker, close its clients, and delete its folder."""
        for each in self._clients:
            each.close()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return the lines that the broker has logged."""
        file = self._folder / "log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def _start(self) -> None:
        try:
            process = launch(self.folder, self._folder / "log", port=self._port, ahead_s=self._ahead_s)
        except BrokerEndedError as error:
            raise BrokerEndedError(f"{error}; it logged:\n{self.log()}") from None
        self._process, self._port = process, process.port

    def _running(self) -> Process:
        if self._process is None:
            raise BrokerEndedError("the broker does not run: call restart() first")
        return self._process
