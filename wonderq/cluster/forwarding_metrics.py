"""The metrics of requests that a node passes on. docs/CLUSTER_REQUESTS.md explains them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wonderq.cluster.forwarding import Forwarder


class ForwardingCollector(Collector):
    """Collects the figures of a `Forwarder`."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterator[Metric]:
        passed_on = CounterMetricFamily(
            "wonderq_forwarded_requests",
            "Number of requests passed on to the owner of their shard, by what came of them.",
            labels=["shard", "outcome"],
        )
        for (shard, outcome), count in sorted(self._forwarder.outcomes.items()):
            passed_on.add_metric([str(shard), outcome], count)
        yield passed_on
        waiting = self._forwarder.waiting
        yield GaugeMetricFamily("wonderq_forwarded_requests_waiting", "Requests that wait for another node.", waiting)
