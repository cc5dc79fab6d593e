"""Metrics of workers in the text format of Prometheus, over HTTP.

With one process, the counters are in memory. With several, prometheus_client keeps them in files of a folder
(`FOLDER_VARIABLE`), and the supervisor serves their sums.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

log = logging.getLogger("wonderq.worker")

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client. It must be set before the first import of that package."""

#: Reads of the files of several processes, and the pause between two, while one of them has no contents yet.
_MOST_READS, _PAUSE_S = 50, 0.01

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 20, 60, 300, 1800)


class AddressError(Exception):
    """Metrics cannot be served at an address."""


class WorkerMetrics:
    """Counters of one worker."""

    def __init__(self, slots: int) -> None:
        self.registry = CollectorRegistry()
        self._running = Gauge(
            "wonderq_worker_running",
            "Number of handlers that run.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        slot_gauge = Gauge(
            "wonderq_worker_slots",
            "Number of handlers that may run at a time.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        slot_gauge.set(slots)
        self._ended = Counter(
            "wonderq_worker_messages",
            "Number of messages by task and outcome: done, retried, dead, given back or lost.",
            ["task", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "wonderq_worker_seconds",
            "Time that handlers ran, in seconds.",
            ["task"],
            registry=self.registry,
            buckets=_SECONDS,
        )

    def started(self) -> None:
        """Count a handler that starts."""
        self._running.inc()

    def ended(self, name: str, outcome: str, seconds: float) -> None:
        """Count a handler that ended."""
        self._running.dec()
        self._ended.labels(name, outcome).inc()
        self._seconds.labels(name).observe(seconds)

    def not_run(self, outcome: str) -> None:
        """Count a message that no handler could run."""
        self._ended.labels("", outcome).inc()


@contextmanager
def served(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Serve a registry over HTTP while the block runs; yields the port, which is a free one for port 0.

    Raises:
        AddressError: the address is in use, or is none of this machine.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise AddressError(f"cannot serve metrics on {host}:{port}: {error.strerror or error}") from error
    log.info("metrics at http://%s:%d/metrics", host, server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def shared_folder() -> Iterator[str]:
    """Make the folder in which processes share their counters, and set its variable for them."""
    with tempfile.TemporaryDirectory(prefix="wonderq-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield folder
        finally:
            del os.environ[FOLDER_VARIABLE]


class _Sums(MultiProcessCollector):
    """Sums over several processes. A process that just begins has a file without contents, which cannot be read yet."""

    def collect(self) -> Iterable[Metric]:
        for _ in range(_MOST_READS - 1):
            try:
                return super().collect()  # type: ignore[no-any-return, no-untyped-call]
            except struct.error:
                time.sleep(_PAUSE_S)
        return super().collect()  # type: ignore[no-any-return, no-untyped-call]


def sums_of(folder: str) -> CollectorRegistry:
    """Return a registry of the sums over all processes that use a folder."""
    registry = CollectorRegistry()
    _Sums(registry, path=folder)  # type: ignore[no-untyped-call]
    return registry


def forget_process(folder: str, pid: int) -> None:
    """Remove the gauges of a process that ended. Its counters remain."""
    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
