"""The metrics of a node: its own, and those of the brokers of its shards with the labels ``node`` and ``shard``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from wonderq.cluster.node import Node

_LABELS = ("node", "shard")

#: Metrics of a broker that are those of its process, so that the brokers of one process have the same.
_OF_THE_PROCESS = ("wonderq_build", "wonderq_refusals")


class NodeCollector(Collector):
    """Collects the figures of a node and of its shards. It asks nobody."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node = self._node
        yield _gauge("wonderq_nats_up", "1 while there is a connection to NATS, otherwise 0.", node, node.is_connected)
        yield _gauge("wonderq_cluster_quorum", "1 while NATS stores something, otherwise 0.", node, node.has_quorum)
        yield _gauge("wonderq_cluster_nodes", "Number of nodes that are heard, with this one.", node, len(node.nodes()))
        ahead_ms = node.clock_ahead_ms
        yield _gauge(
            "wonderq_clock_ahead_of_others_seconds",
            "Seconds by which the system's clock is ahead of those of most other nodes.",
            node,
            None if ahead_ms is None else ahead_ms / 1000,
        )
        yield from self._shards()
        yield from merged(self._of_brokers())

    def _shards(self) -> Iterator[Metric]:
        node, statuses = self._node, self._node.statuses()
        owner = GaugeMetricFamily("wonderq_shard_owner", "1 if this node owns the shard, otherwise 0.", labels=_LABELS)
        available = GaugeMetricFamily(
            "wonderq_shard_available", "1 if a node is heard to own the shard, otherwise 0.", labels=_LABELS
        )
        damaged = GaugeMetricFamily(
            "wonderq_shard_damaged", "1 if a node has found the shard's log damaged, otherwise 0.", labels=_LABELS
        )
        epoch = GaugeMetricFamily("wonderq_shard_epoch", "Number of the newest ownership.", labels=_LABELS)
        takeovers = CounterMetricFamily(
            "wonderq_shard_takeovers", "Number of times this node took the shard over.", labels=_LABELS
        )
        took = GaugeMetricFamily(
            "wonderq_shard_takeover_seconds", "Seconds from the last decision to take over to serving.", labels=_LABELS
        )
        fenced = CounterMetricFamily(
            "wonderq_shard_fenced", "Number of times another node took the shard from this one.", labels=_LABELS
        )
        sequence = GaugeMetricFamily(
            "wonderq_shard_last_sequence", "Number of the newest durable group, at the owner.", labels=_LABELS
        )
        retries = CounterMetricFamily(
            "wonderq_shard_append_retries", "Number of groups that the owner sent to NATS again.", labels=_LABELS
        )
        waiting = GaugeMetricFamily(
            "wonderq_shard_waiting_seconds", "Seconds that the oldest unacknowledged group has waited.", labels=_LABELS
        )
        current = GaugeMetricFamily(
            "wonderq_shard_replicas_current", "Number of NATS servers that have all of the log.", labels=_LABELS
        )
        replicas = GaugeMetricFamily(
            "wonderq_shard_replicas", "Number of NATS servers that are to have all of the log.", labels=_LABELS
        )
        for status, shard in zip(statuses, node.shards, strict=True):
            labels = [node.node, str(status.shard)]
            owned = shard.owned
            owner.add_metric(labels, float(owned is not None))
            available.add_metric(labels, float(status.status == "owned"))
            damaged.add_metric(labels, float(status.status == "damaged"))
            epoch.add_metric(labels, status.epoch)
            takeovers.add_metric(labels, shard.takeovers)
            fenced.add_metric(labels, shard.fenced)
            if shard.takeover_s is not None:
                took.add_metric(labels, shard.takeover_s)
            if owned is not None:
                sequence.add_metric(labels, owned.log.acknowledged_sequence)
                retries.add_metric(labels, owned.log.append_retries)
                waiting.add_metric(labels, owned.log.waiting_s)
            seen = node.seen.get(status.shard)
            if seen is not None:
                current.add_metric(labels, seen.replicas_current)
                replicas.add_metric(labels, seen.replicas)
        yield from (owner, available, damaged, epoch, takeovers, took, fenced)
        yield from (sequence, retries, waiting, current, replicas)

    def _of_brokers(self) -> Iterator[tuple[dict[str, str], Iterable[Metric]]]:
        for shard in self._node.shards:
            owned = shard.owned
            if owned is not None:
                labels = {"node": self._node.node, "shard": str(shard.number)}
                for collector in owned.collectors:
                    yield labels, collector.collect()


def merged(found: Iterable[tuple[dict[str, str], Iterable[Metric]]]) -> list[Metric]:
    """Return the metrics of several brokers, each metric once, with the labels of the broker at each sample."""
    families: dict[str, Metric] = {}
    for labels, metrics in found:
        for metric in metrics:
            if metric.name in _OF_THE_PROCESS:
                families.setdefault(metric.name, metric)
                continue
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            family.samples += [
                Sample(each.name, {**labels, **each.labels}, each.value, each.timestamp, each.exemplar)
                for each in metric.samples
            ]
    return list(families.values())


def _gauge(name: str, text: str, node: Node, value: float | None) -> GaugeMetricFamily:
    """Return a gauge of a node, without a sample if the value is not known."""
    found = GaugeMetricFamily(name, text, labels=["node"])
    if value is not None:
        found.add_metric([node.node], float(value))
    return found
