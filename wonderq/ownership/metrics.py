"""The metrics of a process that shares its log. docs/METRICS.md explains each of them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wonderq.ownership.node import Node

ROLES = ("owner", "standing_by", "taking_over", "waiting_for_quorum", "damaged")


class NodeCollector(Collector):
    """Collects the figures of a process, whether it owns the log or stands by. It asks nobody."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node, log = self._node, self._node.log
        role = GaugeMetricFamily("wonderq_role", "1 for what this process does at present.", labels=["role"])
        present = "owner" if node.is_serving else node.standing().status
        for each in ROLES:
            role.add_metric([each], float(each == present))
        yield role
        up = float(node.is_connected)
        yield GaugeMetricFamily("wonderq_nats_up", "1 while there is a connection to NATS, otherwise 0.", up)
        yield CounterMetricFamily("wonderq_log_takeovers", "Number of times this process took over.", node.takeovers)
        took = GaugeMetricFamily(
            "wonderq_log_takeover_seconds", "Seconds from the last decision to take over to serving.", labels=[]
        )
        if node.takeover_s is not None:
            took.add_metric([], node.takeover_s)
        yield took
        yield CounterMetricFamily(
            "wonderq_log_fenced", "Number of times another process took the log from this one.", node.fenced
        )
        yield CounterMetricFamily(
            "wonderq_log_append_retries", "Number of groups that were sent to NATS again.", node.append_retries
        )
        epoch = GaugeMetricFamily("wonderq_log_epoch", "Number of the newest ownership of the log.", labels=[])
        if node.member.epoch:
            epoch.add_metric([], node.member.epoch)
        yield epoch
        sequence = GaugeMetricFamily(
            "wonderq_log_last_sequence", "Number of the newest durable group, at the owner.", labels=[]
        )
        waiting = GaugeMetricFamily(
            "wonderq_log_waiting_seconds", "Seconds that the oldest unacknowledged group has waited.", labels=[]
        )
        if log is not None:
            sequence.add_metric([], log.acknowledged_sequence)
            waiting.add_metric([], log.waiting_s)
        yield from (sequence, waiting)
        current = GaugeMetricFamily(
            "wonderq_log_replicas_current", "Number of NATS servers that have all of the log.", labels=[]
        )
        if node.seen is not None:
            current.add_metric([], node.seen.replicas_current)
        yield current
        ahead = GaugeMetricFamily(
            "wonderq_clock_ahead_of_others_seconds",
            "Seconds by which the system's clock is ahead of the others.",
            labels=[],
        )
        if (ahead_ms := node.member.clock_ahead_ms) is not None:
            ahead.add_metric([], ahead_ms / 1000)
        yield ahead
