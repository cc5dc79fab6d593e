"""``GET /metrics``: metrics in the text format of Prometheus. docs/METRICS.md explains each of them.

Counters are kept where their events happen (`wonderq.broker.counters`, `wonderq.httpd.counters`) and only read here.
Gauges, such as the number of waiting messages, are computed when they are requested.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from wonderq.httpd.counters import refusals
from wonderq.httpd.server import Server
from wonderq.model.status import STATUS_BY_NAME
from wonderq.rest.bodies import read_query
from wonderq.rest.health import SharedLogState
from wonderq.rest.overview import Vitals
from wonderq.rest.schemas import Body
from wonderq.runtime.fibers import yield_to_others
from wonderq.runtime.histogram import Histogram
from wonderq.state import record
from wonderq_storage import Log, Observer

#: Values of the label ``operation`` that are operations of the broker, by kind of record.
_OPERATIONS = {
    record.PRODUCE: "produce",
    record.CLAIM: "claim",
    record.DELETE: "delete",
    record.UPDATE: "update",
    record.PURGE: "purge",
}

#: Number of lines to format before yielding to other requests; these take about two milliseconds.
_LINES_PER_STEP = 500

#: Number of queues whose counters to collect before yielding; about two milliseconds.
_QUEUES_PER_STEP = 20


class Metrics:
    """The resource at ``/metrics``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, Body)
        resp.content_type = CONTENT_TYPE_PLAIN_0_0_4
        resp.data = b"".join(_write(self._registry.collect()))


def make_registry(broker: Broker) -> CollectorRegistry:
    """Return a registry with the metrics of a broker and its process. Callers may add the other collectors."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(BrokerCollector(broker))
    return registry


class _Family(Collector):
    """A collector of one metric, which `generate_latest` requires."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self.metric]


def _write(metrics: Iterable[Metric]) -> Iterator[bytes]:
    for metric in metrics:
        samples = metric.samples
        for at in range(0, len(samples) or 1, _LINES_PER_STEP):
            metric.samples = samples[at : at + _LINES_PER_STEP]
            text = generate_latest(_Family(metric))
            yield text if at == 0 else text.split(b"\n", 2)[2]  # only the first step has HELP and TYPE
            yield_to_others()


def _age_ms(since_ms: int | None, now_ms: int) -> int:
    """Return the time since a moment, or 0 without one."""
    return 0 if since_ms is None else max(now_ms - since_ms, 0)


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram, unit: float = 1) -> None:
    """Add a histogram to a family. ``unit`` is the number of observed units in a unit of the metric."""
    bounds = [*(str(bound / unit) for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total / unit)


class BrokerCollector(Collector):
    """Collects the counters and the contents of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        broker = self._broker
        python = platform.python_version()
        yield InfoMetricFamily(
            "wonderq_build",
            "Always 1; the labels are the versions of WonderQ and Python.",
            {"version": __version__, "python": python},
        )
        ready = float(broker.unready is None)
        yield GaugeMetricFamily("wonderq_ready", "1 while the broker accepts operations, otherwise 0.", ready)
        damaged = float(broker.is_damaged)
        yield GaugeMetricFamily("wonderq_damaged", "1 after damage was found in the log, otherwise 0.", damaged)
        yield from self._clock()
        yield from self._queues()
        yield from self._operations()
        yield from self._topics()
        yield from self._push()
        errors = CounterMetricFamily(
            "wonderq_refusals", "Number of refused requests and connections, by error code.", labels=["code"]
        )
        for code, count in sorted(refusals.items()):
            errors.add_metric([code], count)
        yield errors
        yield GaugeMetricFamily("wonderq_waiting_consumers", "Number of waiting long polls.", broker.waiting_consumers)
        limit = broker.limits.waiting_consumers
        yield GaugeMetricFamily("wonderq_waiting_consumers_limit", "Maximum number of waiting long polls.", limit)
        yield from self._housekeeping()
        yield from self._maintenance()

    def _clock(self) -> Iterator[Metric]:
        clock = self._broker.core.clock
        held = float(clock.is_held)
        yield GaugeMetricFamily(
            "wonderq_clock_held",
            "1 while the broker's clock does not follow a doubtful system clock, otherwise 0.",
            held,
        )
        ahead_s = clock.ahead_ms() / 1000
        yield GaugeMetricFamily(
            "wonderq_clock_ahead_seconds", "Seconds by which the broker's clock is ahead of the system's.", ahead_s
        )

    def _queues(self) -> Iterator[Metric]:
        counters = self._broker.counters
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        sizes: defaultdict[str, int] = defaultdict(int)
        ages_ms: defaultdict[str, int] = defaultdict(int)
        waits_ms: defaultdict[str, int] = defaultdict(int)
        total = 0
        for info in self._broker.queue_stats():
            total += 1
            queue = counters.name_of(info.name)
            for status in STATUS_BY_NAME:
                counts[queue, status] += info.counts[status]
            sizes[queue] += info.bytes
            ages_ms[queue] = max(ages_ms[queue], _age_ms(info.oldest_ms, info.now_ms))
            waits_ms[queue] = max(waits_ms[queue], _age_ms(info.waiting_since_ms, info.now_ms))
        yield GaugeMetricFamily("wonderq_queues", "Number of existing queues.", total)
        messages = GaugeMetricFamily(
            "wonderq_queue_messages", "Number of existing messages.", labels=["queue", "status"]
        )
        for labels, count in counts.items():
            messages.add_metric(labels, count)
        yield messages
        used = GaugeMetricFamily("wonderq_queue_bytes", "Bytes of all messages, as stored.", labels=["queue"])
        for queue, size in sizes.items():
            used.add_metric([queue], size)
        yield used
        ages = GaugeMetricFamily(
            "wonderq_queue_oldest_age_seconds",
            "Seconds since the oldest message in any status was produced; 0 in an empty queue.",
            labels=["queue"],
        )
        waits = GaugeMetricFamily(
            "wonderq_queue_oldest_waiting_seconds",
            "Seconds since the oldest waiting message could first be claimed; 0 if none waits.",
            labels=["queue"],
        )
        for family, by_queue in ((ages, ages_ms), (waits, waits_ms)):
            for queue, age_ms in by_queue.items():
                family.add_metric([queue], age_ms / 1000)
            yield family

    def _operations(self) -> Iterator[Metric]:
        labels = ["operation", "queue"]
        calls = CounterMetricFamily(
            "wonderq_operations", "Number of operations that changed something; a batch counts as one.", labels=labels
        )
        messages = CounterMetricFamily("wonderq_messages", "Number of messages that operations changed.", labels=labels)
        dead = CounterMetricFamily(
            "wonderq_dead_letters",
            "Number of messages of the queue that became dead letters, moved or buried.",
            labels=["queue"],
        )
        time_to_claim = HistogramMetricFamily(
            "wonderq_message_time_to_claim_seconds", "Seconds from produce to claim, per claim.", labels=["queue"]
        )
        lifetime = HistogramMetricFamily(
            "wonderq_message_lifetime_seconds", "Seconds from produce to delete, per deleted message.", labels=["queue"]
        )
        for number, (queue, counters) in enumerate(self._broker.counters.named(), 1):
            if not number % _QUEUES_PER_STEP:
                yield_to_others()
            for kind, operation in _OPERATIONS.items():
                calls.add_metric([operation, queue], counters.calls[kind])
                messages.add_metric([operation, queue], counters.messages[kind])
            for operation, count in (
                ("claim_timeout", counters.claims_timed_out),
                ("retention", counters.retention_expired),
                ("transfer", counters.moved),
                ("bury", counters.buried),
            ):
                messages.add_metric([operation, queue], count)
            dead.add_metric([queue], counters.dead_letters_moved + counters.buried)
            _add(time_to_claim, [queue], counters.time_to_claim_ms, 1000)
            _add(lifetime, [queue], counters.lifetime_ms, 1000)
        yield from (calls, messages, dead, time_to_claim, lifetime)

    def _topics(self) -> Iterator[Metric]:
        counters = self._broker.counters
        yield GaugeMetricFamily("wonderq_topics", "Number of existing topics.", self._broker.topics.count)
        messages = CounterMetricFamily(
            "wonderq_topic_messages",
            "Number of messages published, of those that queues got of them, and of those that queues refused.",
            labels=["operation", "topic"],
        )
        for topic, each in counters.named_topics():
            for operation, count in (("publish", each.published), ("deliver", each.deliveries), ("skip", each.skips)):
                messages.add_metric([operation, topic], count)
        yield messages

    def _push(self) -> Iterator[Metric]:
        counters = self._broker.counters.push
        attempts = CounterMetricFamily(
            "wonderq_push_attempts",
            "Number of requests to endpoints. delivered, failed: it will be tried again, dead: it will not.",
            labels=["outcome"],
        )
        for outcome, count in counters.attempts.items():
            attempts.add_metric([outcome], count)
        yield attempts
        duration = HistogramMetricFamily(
            "wonderq_push_duration_seconds", "Seconds per request to an endpoint, with the lookup.", labels=[]
        )
        _add(duration, [], counters.duration_s)
        yield duration
        under_way = counters.in_flight
        yield GaugeMetricFamily("wonderq_push_in_flight", "Number of requests to endpoints under way.", under_way)
        endpoints, failing = counters.endpoints, counters.failing
        yield GaugeMetricFamily("wonderq_push_endpoints", "Number of endpoints that the broker delivers to.", endpoints)
        yield GaugeMetricFamily(
            "wonderq_push_endpoints_failing", "Number of endpoints whose last request failed.", failing
        )

    def _housekeeping(self) -> Iterator[Metric]:
        broker, counters = self._broker, self._broker.counters
        up = float(counters.housekeeper_runs)
        yield GaugeMetricFamily("wonderq_housekeeper_up", "1 while the housekeeper runs, otherwise 0.", up)
        yield GaugeMetricFamily("wonderq_redrives_running", "Number of running redrives.", broker.redrives.running)
        fired = counters.schedules_fired
        yield CounterMetricFamily("wonderq_schedules_fired", "Number of due times of schedules with a message.", fired)
        missed = counters.schedules_missed
        yield CounterMetricFamily(
            "wonderq_schedules_missed", "Number of due times of schedules that passed without a message.", missed
        )

    def _maintenance(self) -> Iterator[Metric]:
        broker, counters = self._broker, self._broker.counters
        yield CounterMetricFamily("wonderq_checkpoints", "Number of checkpoints written.", counters.checkpoints)
        size = counters.checkpoint_bytes
        yield GaugeMetricFamily("wonderq_checkpoint_bytes", "Bytes of the last checkpoint; 0 before the first.", size)
        took_s = counters.checkpoint_s
        yield GaugeMetricFamily("wonderq_checkpoint_duration_seconds", "Seconds the last checkpoint took.", took_s)
        done_at = GaugeMetricFamily(
            "wonderq_checkpoint_timestamp_seconds", "Time of the last checkpoint, in seconds since 1970.", labels=[]
        )
        if counters.checkpoint_at_s is not None:
            done_at.add_metric([], counters.checkpoint_at_s)
        yield done_at
        lag = broker.checkpoint_lag_bytes
        yield GaugeMetricFamily("wonderq_checkpoint_lag_bytes", "Bytes of records that a start would replay.", lag)
        copied = counters.copied_bytes
        yield CounterMetricFamily(
            "wonderq_compaction_copied_bytes", "Bytes of messages that compaction copied.", copied
        )
        dropped = counters.dropped_segments
        yield CounterMetricFamily(
            "wonderq_compaction_dropped_segments", "Number of segments that were removed.", dropped
        )


class LogCollector(Collector):
    """Collects the counters of a log and its use of the disk. It only reads what the log has in memory."""

    def __init__(self, log: Log, counters: LogCounters, broker: Broker) -> None:
        self._log = log
        self._counters = counters
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        log, counters = self._log, self._counters
        syncs = HistogramMetricFamily("wonderq_log_sync_duration_seconds", "Seconds per sync of the log.", labels=[])
        _add(syncs, [], counters.sync_s)
        records = HistogramMetricFamily("wonderq_log_group_records", "Number of records per commit group.", labels=[])
        _add(records, [], counters.group_records)
        sizes = HistogramMetricFamily("wonderq_log_group_bytes", "Bytes per commit group.", labels=[])
        _add(sizes, [], counters.group_bytes)
        yield from (syncs, records, sizes)
        used = GaugeMetricFamily("wonderq_log_bytes", "Bytes of live and dead records in the log.", labels=["kind"])
        reserved = GaugeMetricFamily(
            "wonderq_log_disk_bytes", "Bytes of all segment files, with reserved space.", labels=[]
        )
        free = GaugeMetricFamily("wonderq_disk_free_bytes", "Free bytes on the disk of the log.", labels=[])
        segments = GaugeMetricFamily("wonderq_log_segments", "Number of segment files in use.", labels=[])
        with suppress(OSError):  # on a failing disk, the other metrics are still needed
            written = log.used_bytes()
            live = min(live_bytes(self._broker), written)
            used.add_metric(["live"], live)
            used.add_metric(["dead"], written - live)
            free.add_metric([], log.free_bytes())
            if (files := log.files) is not None:
                reserved.add_metric([], files.disk_bytes)
                segments.add_metric([], files.segments)
        yield from (used, reserved, free, segments)


class ServerCollector(Collector):
    """Collects the requests and connections of a server."""

    def __init__(self, server: Server, connection_limit: int) -> None:
        self._server = server
        self._connection_limit = connection_limit

    def collect(self) -> Iterator[Metric]:
        counters = self._server.counters
        requests = HistogramMetricFamily(
            "wonderq_http_request_duration_seconds",
            "Seconds from a complete request to the start of its response.",
            labels=["method", "route", "status"],
        )
        for kind, histogram in sorted(counters.by_kind.items()):
            _add(requests, kind, histogram)
        yield requests
        yield GaugeMetricFamily("wonderq_connections", "Number of open connections.", self._server.open_connections)
        limit = self._connection_limit
        yield GaugeMetricFamily("wonderq_connections_limit", "Maximum number of open connections.", limit)
        yield CounterMetricFamily("wonderq_connections_accepted", "Number of accepted connections.", counters.accepted)
        refused = counters.refused
        yield CounterMetricFamily(
            "wonderq_connections_refused", "Number of connections refused because of a limit.", refused
        )


_SYNC_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GROUP_RECORDS = tuple(1 << bits for bits in range(11))
_GROUP_BYTES = tuple(256 << bits for bits in range(0, 18, 2))


class LogCounters(Observer):
    """Counters of a log, updated by the leader of each commit group."""

    def __init__(self) -> None:
        self.sync_s = Histogram(_SYNC_S)
        self.group_records = Histogram(_GROUP_RECORDS)
        self.group_bytes = Histogram(_GROUP_BYTES)

    def group(self, records: int, size: int) -> None:
        self.group_records.observe(records)
        self.group_bytes.observe(size)

    def sync(self, seconds: float) -> None:
        self.sync_s.observe(seconds)


class ProcessVitals:
    """Figures of the log and the server that the overview shows."""

    def __init__(self, log: Log, counters: LogCounters, connection_limit: int) -> None:
        self._log = log
        self._counters = counters
        self._connection_limit = connection_limit
        self.server: Server | None = None
        """The server, once it has started."""
        self.shared_log: Callable[[], SharedLogState | None] = lambda: None
        """Returns the state of the log, if several processes share it."""

    def read(self) -> Vitals:
        """Return the present values."""
        free_bytes = used_bytes = files = None
        with suppress(OSError):  # on a failing disk, the rest is still needed
            free_bytes, used_bytes, files = self._log.free_bytes(), self._log.used_bytes(), self._log.files
        return Vitals(
            __version__,
            free_bytes,
            used_bytes,
            files and files.disk_bytes,
            files and files.segments,
            self._counters.sync_s.quantile(0.5),
            self._counters.sync_s.quantile(0.99),
            None if self.server is None else self.server.open_connections,
            self._connection_limit,
            self.shared_log(),
        )
