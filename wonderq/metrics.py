"""``GET /metrics``: what there is to watch, in the text format of Prometheus. docs/METRICS.md says what each means.

Nothing is counted here: that is done where it happens (`wonderq.broker.counters`). What is known anyway, such as how many messages
wait, is looked up when it is asked for.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate

import falcon
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from wonderq import __version__
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import live_bytes
from wonderq.httpd.counters import RequestCounters, refusals
from wonderq.model.status import STATUS_BY_NAME
from wonderq.rest.bodies import read_query
from wonderq.rest.schemas import Body
from wonderq.runtime.fibers import yield_to_others
from wonderq.runtime.histogram import Histogram
from wonderq.state import record
from wonderq_storage import FileLog, Observer

_OPERATIONS = {
    record.PRODUCE: "produce",
    record.CLAIM: "claim",
    record.DELETE: "delete",
    record.UPDATE: "update",
    record.PURGE: "purge",
}

#: So many lines are written before others have their turn: that takes about two milliseconds.
_LINES_AT_ONCE = 500


class Metrics:
    """The resource."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, Body)
        resp.content_type = CONTENT_TYPE_PLAIN_0_0_4
        resp.data = b"".join(_write(self._registry.collect()))


def make_registry(broker: Broker) -> CollectorRegistry:
    """Return what shows a broker and its process. `LogCollector` and `ServerCollector` can be added."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(BrokerCollector(broker))
    return registry


class _Family(Collector):
    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self.metric]


def _write(metrics: Iterable[Metric]) -> Iterator[bytes]:
    for metric in metrics:
        samples = metric.samples
        for at in range(0, len(samples) or 1, _LINES_AT_ONCE):
            metric.samples = samples[at : at + _LINES_AT_ONCE]
            text = generate_latest(_Family(metric))
            yield text if at == 0 else text.split(b"\n", 2)[2]  # HELP and TYPE stand at the first
            yield_to_others()


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram, unit: float = 1) -> None:
    """``unit`` is what makes what was observed out of what is shown."""
    bounds = [*(str(bound / unit) for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total / unit)


class BrokerCollector(Collector):
    """Shows what a broker has counted, and what it holds."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        broker = self._broker
        python = platform.python_version()
        yield InfoMetricFamily("wonderq_build", "What runs.", {"version": __version__, "python": python})
        yield GaugeMetricFamily("wonderq_ready", "1 while the broker takes work.", float(broker.unready is None))
        yield GaugeMetricFamily("wonderq_damaged", "1 once damage was found in the log.", float(broker.is_damaged))
        yield from self._queues()
        yield from self._operations()
        errors = CounterMetricFamily("wonderq_refusals", "Requests and connections refused.", labels=["code"])
        for code, count in sorted(refusals.items()):
            errors.add_metric([code], count)
        yield errors
        yield GaugeMetricFamily("wonderq_waiting_consumers", "Long polls that wait.", broker.waiting_consumers)
        limit = broker.limits.waiting_consumers
        yield GaugeMetricFamily("wonderq_waiting_consumers_limit", "How many may.", limit)
        yield from self._keeper()
        yield from self._upkeep()

    def _queues(self) -> Iterator[Metric]:
        counters = self._broker.counters
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        sizes: defaultdict[str, int] = defaultdict(int)
        ages_ms: defaultdict[str, int] = defaultdict(int)
        total = 0
        for info in self._broker.queue_stats():
            total += 1
            queue = counters.name_of(info.name)
            for status in STATUS_BY_NAME:
                counts[queue, status] += info.counts[status]
            sizes[queue] += info.bytes
            age_ms = 0 if info.oldest_ms is None else info.now_ms - info.oldest_ms
            ages_ms[queue] = max(ages_ms[queue], age_ms)
        yield GaugeMetricFamily("wonderq_queues", "Queues there are.", total)
        messages = GaugeMetricFamily("wonderq_queue_messages", "Messages there are.", labels=["queue", "status"])
        for labels, count in counts.items():
            messages.add_metric(labels, count)
        yield messages
        used = GaugeMetricFamily("wonderq_queue_bytes", "What they take, as stored.", labels=["queue"])
        for queue, size in sizes.items():
            used.add_metric([queue], size)
        yield used
        ages = GaugeMetricFamily("wonderq_queue_oldest_age_seconds", "Age of the oldest message.", labels=["queue"])
        for queue, age_ms in ages_ms.items():
            ages.add_metric([queue], age_ms / 1000)
        yield ages

    def _operations(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("wonderq_operations", "What was done.", labels=["operation", "queue"])
        messages = CounterMetricFamily("wonderq_messages", "To how many messages.", labels=["operation", "queue"])
        dwell = HistogramMetricFamily(
            "wonderq_message_time_to_claim_seconds", "From produced to claimed.", labels=["queue"]
        )
        lifetime = HistogramMetricFamily(
            "wonderq_message_lifetime_seconds", "From produced to deleted.", labels=["queue"]
        )
        for queue, counters in self._broker.counters.named():
            for kind, operation in _OPERATIONS.items():
                calls.add_metric([operation, queue], counters.calls[kind])
                messages.add_metric([operation, queue], counters.messages[kind])
            for operation, count in (
                ("expire", counters.claims_timed_out),
                ("outdate", counters.retention_expired),
                ("move", counters.moved),
                ("bury", counters.buried),
            ):
                messages.add_metric([operation, queue], count)
            _add(dwell, [queue], counters.time_to_claim_ms, 1000)
            _add(lifetime, [queue], counters.lifetime_ms, 1000)
        yield from (calls, messages, dwell, lifetime)

    def _keeper(self) -> Iterator[Metric]:
        broker, counters = self._broker, self._broker.counters
        yield GaugeMetricFamily("wonderq_housekeeper_up", "1 while the keeper runs.", float(counters.housekeeper_runs))
        yield GaugeMetricFamily("wonderq_redrives_running", "Redrives that are under way.", broker.redrives.running)
        fired = counters.schedules_fired
        yield CounterMetricFamily("wonderq_schedules_fired", "Times of schedules that have a message.", fired)
        missed = counters.schedules_missed
        yield CounterMetricFamily("wonderq_schedules_missed", "Times of schedules that have none.", missed)

    def _upkeep(self) -> Iterator[Metric]:
        broker, counters = self._broker, self._broker.counters
        yield CounterMetricFamily("wonderq_checkpoints", "Checkpoints written.", counters.checkpoints)
        yield GaugeMetricFamily("wonderq_checkpoint_bytes", "Size of the last one.", counters.checkpoint_bytes)
        yield GaugeMetricFamily("wonderq_checkpoint_duration_seconds", "What it took.", counters.checkpoint_s)
        done_at = GaugeMetricFamily("wonderq_checkpoint_timestamp_seconds", "When it was done.", labels=[])
        if counters.checkpoint_at_s is not None:
            done_at.add_metric([], counters.checkpoint_at_s)
        yield done_at
        lag = broker.checkpoint_lag_bytes
        yield GaugeMetricFamily("wonderq_checkpoint_lag_bytes", "Records behind it, for a start to replay.", lag)
        copied = counters.copied_bytes
        yield CounterMetricFamily("wonderq_compaction_copied_bytes", "Live entries that it has copied.", copied)
        dropped = counters.dropped_segments
        yield CounterMetricFamily("wonderq_compaction_dropped_segments", "Segments that it has dropped.", dropped)


class LogCollector(Collector):
    """Shows a log's work, and what it takes on the disk."""

    def __init__(self, log: FileLog, counters: LogCounters, broker: Broker) -> None:
        self._log = log
        self._measures = counters
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        log, counters = self._log, self._measures
        syncs = HistogramMetricFamily("wonderq_log_sync_duration_seconds", "What each sync takes.", labels=[])
        _add(syncs, [], counters.sync_s)
        records = HistogramMetricFamily("wonderq_log_group_records", "Records written together.", labels=[])
        _add(records, [], counters.group_records)
        sizes = HistogramMetricFamily("wonderq_log_group_bytes", "Bytes written together.", labels=[])
        _add(sizes, [], counters.group_bytes)
        yield from (syncs, records, sizes)
        used = GaugeMetricFamily("wonderq_log_bytes", "What the records take.", labels=["kind"])
        reserved = GaugeMetricFamily("wonderq_log_disk_bytes", "What the segments take.", labels=[])
        free = GaugeMetricFamily("wonderq_disk_free_bytes", "What is free on their disk.", labels=[])
        with suppress(OSError):  # of a disk that fails: the rest is what one needs to see then
            written = log.used_bytes()
            live = min(live_bytes(self._broker), written)
            used.add_metric(["live"], live)
            used.add_metric(["dead"], written - live)
            reserved.add_metric([], log.disk_bytes)
            free.add_metric([], log.free_bytes())
        yield from (used, reserved, free)
        yield GaugeMetricFamily("wonderq_log_segments", "Segment files in use.", log.segments)


class ServerCollector(Collector):
    """Shows requests and connections."""

    def __init__(self, counters: RequestCounters, connections: dict[int, object], limit: int) -> None:
        """``connections`` are those that are open."""
        self._measures = counters
        self._connections = connections
        self._limit = limit

    def collect(self) -> Iterator[Metric]:
        counters = self._measures
        requests = HistogramMetricFamily(
            "wonderq_http_request_duration_seconds",
            "From when a request is complete to when its answer begins.",
            labels=["method", "route", "status"],
        )
        for kind, histogram in sorted(counters.by_kind.items()):
            _add(requests, kind, histogram)
        yield requests
        yield GaugeMetricFamily("wonderq_connections", "Connections that are open.", len(self._connections))
        yield GaugeMetricFamily("wonderq_connections_limit", "How many may be.", self._limit)
        yield CounterMetricFamily("wonderq_connections_accepted", "Connections taken.", counters.accepted)
        yield CounterMetricFamily("wonderq_connections_refused", "Connections refused.", counters.refused)


_SYNC_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GROUP_RECORDS = tuple(1 << bits for bits in range(11))
_GROUP_BYTES = tuple(256 << bits for bits in range(0, 18, 2))


class LogCounters(Observer):
    """Counts of a log. Changed by whoever leads a group, one at a time."""

    def __init__(self) -> None:
        self.sync_s = Histogram(_SYNC_S)
        self.group_records = Histogram(_GROUP_RECORDS)
        self.group_bytes = Histogram(_GROUP_BYTES)

    def group(self, records: int, size: int) -> None:
        self.group_records.observe(records)
        self.group_bytes.observe(size)

    def sync(self, seconds: float) -> None:
        self.sync_s.observe(seconds)
