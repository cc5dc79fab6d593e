"""The launcher process (`python -m wonderq.testing.process`), and the brokers that it forks."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from wonderq.app import make_pages
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.config import Settings
from wonderq.logs import set_up_logging
from wonderq.runtime.clock import Clock
from wonderq.serve import StartError, assembled
from wonderq.testing.messages import Messages
from wonderq_storage import SyncPolicy

#: Settings that differ from the defaults: connections, so that the usual limit on open files suffices; the segment,
#: whose size is reserved on disk; the sync policy, because a test does not cut the power.
_SETTINGS: dict[str, Any] = {
    "connections": 500,
    "waiting_consumers": 400,
    "segment_bytes": 32 << 20,
    "fsync": SyncPolicy("os"),
}


class _HurriedHousekeeper(Housekeeper):
    """Housekeeping that another thread can hurry."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._one_at_a_time = threading.Lock()

    def turn(self) -> float:
        with self._one_at_a_time:
            return super().turn()


def main() -> None:
    """Fork a broker for each order that arrives on standard input, until that ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the system removes brokers that have ended
    orders = Messages(socket.socket(fileno=os.dup(0)))
    make_pages()
    while (order := orders.receive()) is not None:
        connection = orders.sockets.pop()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            orders.close()
            _serve(Messages(connection), **order)
            return
        connection.close()
        orders.send({})  # only now: on macOS, a socket that its sender closes earlier may get lost on the way


def _serve(control: Messages, *, data: str, log: str, port: int, ahead_s: float) -> None:
    """Run a broker until the test closes its end of the connection."""
    _write_output_to(log)
    clock = Clock()
    clock.raise_floor(clock.now_ms() + round(ahead_s * 1000))
    housekeepers: list[Housekeeper] = []

    def housekeeping(broker: Broker) -> Housekeeper:
        housekeepers.append(_HurriedHousekeeper(broker))
        return housekeepers[0]

    settings = Settings(data=Path(data), listen=("127.0.0.1", port), **_SETTINGS)
    with closing(set_up_logging("info", "console")):
        try:
            with assembled(settings, clock=clock, housekeeping=housekeeping) as (broker, server, _):

                def obey() -> None:
                    while (asked := control.receive()) is not None:
                        _advance(broker, clock, housekeepers[0], asked["advance"])
                        _tell(control, done=True)
                    server.stop()

                threading.Thread(target=obey, name="wonderq-control", daemon=True).start()
                _tell(control, port=int(server.effective_port), pid=os.getpid())
                server.run(on_stop=broker.stop_claiming)
        except StartError as error:
            _tell(control, error=str(error))


def _tell(control: Messages, **fields: Any) -> None:
    with suppress(OSError):  # the test has ended
        control.send(fields)


def _advance(broker: Broker, clock: Clock, housekeeper: Housekeeper, seconds: float) -> None:
    """Move the clock, and do all work that becomes due.

    The clock stops at each due time of a schedule: one that lies far back when the schedules are looked at counts as
    missed, as after an outage.
    """
    until_ms = clock.now_ms() + round(seconds * 1000)
    while True:
        now_ms = clock.now_ms()
        times_ms = (each.next_ms for each in broker.schedules.list() if each.next_ms is not None)
        next_ms = min((each for each in times_ms if now_ms < each < until_ms), default=until_ms)
        with broker.core.lock:  # under which decisions read the time
            clock.raise_floor(next_ms)
            broker.core.consumers.wake_all()
        while not housekeeper.turn():
            pass
        if next_ms == until_ms:
            return


def _write_output_to(log: str) -> None:
    """Append what this process prints to a file, and keep nothing of the launcher's standard input."""
    with Path(log).open("ab") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())


if __name__ == "__main__":
    main()
