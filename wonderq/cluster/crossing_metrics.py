"""The metrics of what crosses from a shard to others. docs/CLUSTER_REQUESTS.md explains them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wonderq.broker.broker import Broker
from wonderq.runtime.fibers import in_turns

#: Queues of other shards whose figures to collect before other requests have their turn.
_QUEUES_PER_TURN = 200

_COUNTERS = {
    "wonderq_crossing_sent": "Number of messages that a queue of another shard has got.",
    "wonderq_crossing_refused": "Number of tries that the queue of another shard refused, such as for want of room.",
    "wonderq_crossing_failed": "Number of tries that reached no owner of the other shard, or whose outcome is unknown.",
}


class CrossingCollector(Collector):
    """Collects the figures of the outboxes of a broker, by the queue that the messages are for."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        now_ms = self._broker.core.clock.now_ms()
        waiting = GaugeMetricFamily(
            "wonderq_crossing_messages", "Number of messages that wait to cross to another shard.", labels=["queue"]
        )
        oldest = GaugeMetricFamily(
            "wonderq_crossing_oldest_age_seconds",
            "Seconds that the oldest of them has waited; 0 if none waits.",
            labels=["queue"],
        )
        for each in in_turns(self._broker.outboxes.waiting(), _QUEUES_PER_TURN):
            waiting.add_metric([each.queue], each.messages)
            age_ms = 0 if each.oldest_ms is None else max(now_ms - each.oldest_ms, 0)
            oldest.add_metric([each.queue], age_ms / 1000)
        yield from (waiting, oldest)
        counters = self._broker.counters
        counts = counters.crossed, counters.crossings_refused, counters.crossings_failed
        for (name, text), by_queue in zip(_COUNTERS.items(), counts, strict=True):
            family = CounterMetricFamily(name, text, labels=["queue"])
            for queue, count in in_turns(list(by_queue.items()), _QUEUES_PER_TURN):
                family.add_metric([queue], count)
            yield family
