"""The cost of an idle worker, and the time from a send to the start of its handler."""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path

from benchmarks.limits import write_and_sync_s
from benchmarks.servers import RunningServer
from benchmarks.waiting import round_trips_s
from benchmarks.workers.contenders import OnWonderQ
from benchmarks.workers.processes import RunningWorker, worker
from benchmarks.workers.wonderq_tasks import app, arrive

_NOTE_BYTES = 8
_RECORD_BYTES = 200
_TURN = 25
_SETTLE_S = 3.0
_PAUSE_S = 0.01


def idle_share(folder: Path, seconds: float, slots: int) -> float:
    """Return the share of a core that a worker uses which waits for tasks."""
    contender = OnWonderQ("idle", "arrive")
    try:
        variables = contender.start(folder)
        os.environ.update(variables)
        with worker(contender.command(slots), variables, folder) as running:
            _send_and_wait(running, folder / "count", 1)
            time.sleep(_SETTLE_S)
            began, cpu_s = time.monotonic(), running.cpu_s()
            time.sleep(seconds)
            return (running.cpu_s() - cpu_s) / (time.monotonic() - began)
    finally:
        app.close()
        contender.stop()


def latencies_s(
    folder: Path, limit: RunningServer, deliveries: int, slots: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the times from sends to starts of handlers, of bare round trips, and of fdatasyncs, each ascending.

    They are measured in turns, so that all of them meet the same moments of the machine.
    """
    contender = OnWonderQ("latency", "arrive")
    trips: list[float] = []
    syncs: list[float] = []
    counted = folder / "count"
    try:
        variables = contender.start(folder)
        os.environ.update(variables)
        with worker(contender.command(slots), variables, folder) as running:
            _send_and_wait(running, counted, _TURN)  # connects, and starts a thread
            while len(trips) < deliveries:
                _send_and_wait(running, counted, _TURN)
                trips += round_trips_s(limit, _TURN)
                syncs += [write_and_sync_s(folder / "synced", [_RECORD_BYTES]) for _ in range(_TURN)]
    finally:
        app.close()
        contender.stop()
    taken = array("Q", counted.read_bytes())
    return sorted(each / 1e9 for each in taken[_TURN:]), sorted(trips), sorted(syncs)


def _send_and_wait(running: RunningWorker, counted: Path, tasks: int) -> None:
    for _ in range(tasks):
        wanted = (counted.stat().st_size if counted.exists() else 0) + _NOTE_BYTES
        arrive.send(time.monotonic_ns())
        running.wait_until(lambda wanted=wanted: counted.exists() and counted.stat().st_size >= wanted, "a task")  # type: ignore[misc]
        time.sleep(_PAUSE_S)
