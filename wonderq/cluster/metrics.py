"""The metrics of a node: its own, and those of the brokers of its shards with the labels ``node`` and ``shard``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from wonderq.cluster.node import Node, Seen, ShardStatus
from wonderq.cluster.shard import Shard

_LABELS = ("node", "shard")

#: Metrics of a broker that are those of its process, so that the brokers of one process have the same.
_OF_THE_PROCESS = ("wonderq_build", "wonderq_refusals")

#: Metrics of a shard. One whose value the node does not know has no sample.
_OF_A_SHARD: dict[str, tuple[type[GaugeMetricFamily | CounterMetricFamily], str]] = {
    "wonderq_shard_owner": (GaugeMetricFamily, "1 if this node owns the shard, otherwise 0."),
    "wonderq_shard_available": (GaugeMetricFamily, "1 if a node is heard to own the shard, otherwise 0."),
    "wonderq_shard_damaged": (GaugeMetricFamily, "1 if a node has found the shard's log damaged, otherwise 0."),
    "wonderq_shard_epoch": (GaugeMetricFamily, "Number of the newest ownership."),
    "wonderq_shard_takeovers": (CounterMetricFamily, "Number of times this node took the shard over."),
    "wonderq_shard_takeover_seconds": (GaugeMetricFamily, "Seconds from the last decision to take over to serving."),
    "wonderq_shard_fenced": (CounterMetricFamily, "Number of times another node took the shard from this one."),
    "wonderq_shard_last_sequence": (GaugeMetricFamily, "Number of the newest durable group, at the owner."),
    "wonderq_shard_append_retries": (CounterMetricFamily, "Number of groups that the owner sent to NATS again."),
    "wonderq_shard_waiting_seconds": (GaugeMetricFamily, "Seconds that the oldest unacknowledged group has waited."),
    "wonderq_shard_replicas_current": (GaugeMetricFamily, "Number of NATS servers that have all of the log."),
    "wonderq_shard_replicas": (GaugeMetricFamily, "Number of NATS servers that are to have all of the log."),
}


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
        node = self._node
        rows = [
            ([node.node, str(status.shard)], _of_shard(status, shard, node.seen.get(status.shard)))
            for status, shard in zip(node.statuses(), node.shards, strict=True)
        ]
        for name, (kind, text) in _OF_A_SHARD.items():
            family = kind(name, text, labels=_LABELS)
            for labels, values in rows:
                if name in values:
                    family.add_metric(labels, values[name])
            yield family

    def _of_brokers(self) -> Iterator[tuple[dict[str, str], Iterable[Metric]]]:
        for shard in self._node.shards:
            owned = shard.owned
            if owned is not None:
                labels = {"node": self._node.node, "shard": str(shard.number)}
                for collector in owned.collectors:
                    yield labels, collector.collect()


def _of_shard(status: ShardStatus, shard: Shard, seen: Seen | None) -> dict[str, float]:
    """Return the values of a shard that the node knows, by metric."""
    owned = shard.owned
    values: dict[str, float] = {
        "wonderq_shard_owner": owned is not None,
        "wonderq_shard_available": status.status == "owned",
        "wonderq_shard_damaged": status.status == "damaged",
        "wonderq_shard_epoch": status.epoch,
        "wonderq_shard_takeovers": shard.takeovers,
        "wonderq_shard_fenced": shard.fenced,
    }
    if shard.takeover_s is not None:
        values["wonderq_shard_takeover_seconds"] = shard.takeover_s
    if owned is not None:
        values["wonderq_shard_last_sequence"] = owned.log.acknowledged_sequence
        values["wonderq_shard_append_retries"] = owned.log.append_retries
        values["wonderq_shard_waiting_seconds"] = owned.log.waiting_s
    if seen is not None:
        values["wonderq_shard_replicas_current"] = seen.replicas_current
        values["wonderq_shard_replicas"] = seen.replicas
    return values


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
