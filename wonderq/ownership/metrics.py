"""The metrics of a process that shares its log. docs/METRICS.md explains each of them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wonderq.ownership.node import Node

ROLES = ("owner", "standing_by", "reading", "taking_over", "waiting_for_quorum", "outdated", "damaged")


class NodeCollector(Collector):
    """Collects the figures of a process, whether it owns the log or stands by. It asks nobody."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node = self._node
        role = GaugeMetricFamily("wonderq_role", "1 for what this process does at present.", labels=["role"])
        present = "owner" if node.is_serving else node.standing().status
        for each in ROLES:
            role.add_metric([each], float(each == present))
        yield role
        up = float(node.is_connected)
        yield GaugeMetricFamily("wonderq_nats_up", "1 while there is a connection to NATS, otherwise 0.", up)
        yield from self._ownership()
        yield from self._log()

    def _ownership(self) -> Iterator[Metric]:
        node = self._node
        yield CounterMetricFamily("wonderq_log_takeovers", "Number of times this process took over.", node.takeovers)
        yield _gauge(
            "wonderq_log_takeover_seconds", "Seconds from the last decision to take over to serving.", node.takeover_s
        )
        yield CounterMetricFamily(
            "wonderq_log_fenced", "Number of times another process took the log from this one.", node.fenced
        )
        ahead_ms = node.member.clock_ahead_ms
        yield _gauge(
            "wonderq_clock_ahead_of_others_seconds",
            "Seconds by which the system's clock is ahead of those of the other processes and of NATS.",
            None if ahead_ms is None else ahead_ms / 1000,
        )

    def _log(self) -> Iterator[Metric]:
        node, log, seen = self._node, self._node.log, self._node.seen
        yield CounterMetricFamily(
            "wonderq_log_append_retries", "Number of groups that were sent to NATS again.", node.append_retries
        )
        yield _gauge("wonderq_log_epoch", "Number of the newest ownership of the log.", node.member.epoch or None)
        yield _gauge(
            "wonderq_log_last_sequence",
            "Number of the newest durable group, at the owner.",
            None if log is None else log.acknowledged_sequence,
        )
        yield _gauge(
            "wonderq_log_waiting_seconds",
            "Seconds that the oldest unacknowledged group has waited, at the owner.",
            None if log is None else log.waiting_s,
        )
        yield _gauge(
            "wonderq_log_replicas",
            "Number of NATS servers that are to have all of the log.",
            None if seen is None else seen.replicas,
        )
        yield _gauge(
            "wonderq_log_replicas_current",
            "Number of NATS servers that have all of the log.",
            None if seen is None else seen.replicas_current,
        )


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge, without a sample if the value is not known."""
    found = GaugeMetricFamily(name, text, labels=[])
    if value is not None:
        found.add_metric([], value)
    return found
