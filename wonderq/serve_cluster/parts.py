"""The brokers of a node: the parts that each is put together from, and those that all share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast

from wonderq.app import App
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import RULES
from wonderq.auth.sessions import Sessions
from wonderq.broker.background import Rounds
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.maintenance import LogMaintenance
from wonderq.cluster.carrying import Carrier
from wonderq.cluster.charter import Charter
from wonderq.cluster.crosser import Crosser
from wonderq.cluster.crossing_metrics import CrossingCollector
from wonderq.cluster.dead_letter_links import DeadLetterLinks
from wonderq.cluster.other_shards import RemoteShards
from wonderq.cluster.shard import OwnedShard, Shard
from wonderq.cluster.shard_map import shard_of
from wonderq.config import Settings
from wonderq.httpd.server import Server
from wonderq.metrics import BrokerCollector, LogCollector, LogCounters, ProcessVitals, make_registry
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.serve import Sharing, make_app, open_log, run_push, signer_of
from wonderq.serve_shared import TakeoverClock
from wonderq_storage import SharedLog
from wonderq_storage.jetstream_peers import JetStreamPeers, Look
from wonderq_storage.nats import JetStream
from wonderq_storage.nats.address import Address, LogAddress

#: Repetitions of a call of a shard's log end after this time.
_PATIENCE_S = 30.0

#: A checkpoint of a shard is due after this many bytes of log. Nobody reads along with an owner, so when it dies, the
#: next one reads everything since its last checkpoint first: this takes about 0.2 s.
_CHECKPOINT_EVERY_BYTES = 16 << 20


class ClusterPeers(JetStreamPeers):
    """The other nodes, over NATS."""

    def __init__(self, jetstream: JetStream, charter: Charter) -> None:
        super().__init__(jetstream, f"wonderq.{charter.cluster_id}")
        self._streams = [JetStreamPeers(jetstream, charter.stream(shard)) for shard in range(charter.shards)]

    def look(self, shard: int = 0) -> Look | None:
        return self._streams[shard].look()


class Parts:
    """The parts that the broker of each shard is put together from."""

    def __init__(
        self,
        settings: Settings,
        sources: Mapping[str, str],
        keys: Keys,
        jetstream: JetStream,
        posting: JetStream,
        servers: list[Address],
        charter: Charter,
        name: str,
    ) -> None:
        self.settings = settings
        self._sources = sources
        self._keys = keys
        self._jetstream = jetstream
        self._posting = posting
        self._servers = tuple(servers)
        self._charter = charter
        self._name = name
        self._buckets = TokenBuckets()
        self._sessions = Sessions()
        self.signer = signer_of(settings)
        self.rounds = Rounds(2 * charter.shards)
        self.crossing_rounds = Rounds(charter.shards)  # whose turns wait for other nodes
        self.link_rounds = Rounds(2)  # the same, and must not hold up those
        self.apps: dict[Broker, App] = {}
        self.server: Server
        self.carrier: Carrier

    def access(self, rules: Mapping[str, Mapping[str, Any]] = RULES) -> Access:
        """Return the access of one application. All count the rate of a key together."""
        return Access(
            self._keys,
            requests_per_second=self.settings.requests_per_second,
            buckets=self._buckets,
            sessions=self._sessions,
            rules=rules,
        )

    @contextmanager
    def own(self, shard: Shard) -> Iterator[OwnedShard]:
        """Read the log of a shard, wait for the turn, and run a broker on it for the ``with`` block.

        Raises:
            StorageError: the log cannot be read, or another node was faster.
        """
        charter, number = self._charter, shard.number
        address = LogAddress(self._servers, charter.stream(number))
        settings = replace(self.settings, log=address, replicas=charter.replicas)
        counters = LogCounters()
        with ExitStack() as stack:
            sharing = Sharing(self._jetstream, self._name, shard, _PATIENCE_S, self._posting)
            log, checkpoints, part_bytes = open_log(settings, counters, sharing)
            stack.callback(log.close)
            broker = Broker(
                log,
                checkpoints=checkpoints,
                clock=TakeoverClock(),
                limits=settings.limits,
                create_queues=settings.create_queues,
                default_queue=shard_of(DEFAULT_QUEUE, charter.shards) == number,
                has_name=lambda name: shard_of(name, charter.shards) == number,
            )
            stack.callback(broker.close)
            broker.reach(RemoteShards(self.carrier, charter.shards, number))
            maintenance = LogMaintenance(
                broker,
                log,
                checkpoints,
                slack_bytes=part_bytes,
                checkpoint_every_bytes=_CHECKPOINT_EVERY_BYTES,
            )
            # A planned hand-over does not wait for a checkpoint: the next node has read the log already.
            stack.callback(lambda: maintenance.stop(with_checkpoint=False))
            housekeeper = Housekeeper(broker)
            stack.callback(housekeeper.stop)
            crosser = Crosser(broker, self.carrier.try_once, charter.shards)
            stack.callback(crosser.stop)
            links = DeadLetterLinks(broker, self.carrier.try_once, charter.shards, number)
            stack.callback(links.stop)
            stack.callback(broker.stop_claiming)
            housekeeper.start(self.rounds)
            crosser.start(self.crossing_rounds)
            links.start(self.link_rounds)
            maintenance.start(self.rounds)
            vitals = ProcessVitals(log, counters, settings.connections)
            vitals.server = self.server
            # The node has the description of the API. It must not hold up a takeover.
            app = make_app(
                settings,
                self._sources,
                broker,
                self.access(),
                make_registry(broker),
                vitals,
                self.signer,
                has_documentation=False,
            )
            self.apps[broker] = app
            stack.callback(self.apps.pop, broker)
            run_push(stack, broker, settings)
            collectors = [BrokerCollector(broker), LogCollector(log, counters, broker), CrossingCollector(broker)]
            yield OwnedShard(broker, cast("SharedLog", log), collectors)
