"""The charter of a cluster: a node reads it, or makes it together with all others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from wonderq.cluster.charter import Charter, CharterError, Wanted, Wishes, join
from wonderq.config import ClusterSettings, Settings
from wonderq.serve import StartError
from wonderq.serve_cluster.nats_servers import TELL_S
from wonderq_storage import StorageError
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import JetStream, NatsError

logger = logging.getLogger("wonderq")

#: Shards of a cluster whose settings leave that open.
DEFAULT_SHARDS = 16

#: Subject on which the nodes find each other before their cluster is made.
_SUBJECT = "wonderq.founding"

_INTERVAL_S = 0.2

_CALL_S = 2.0


def default_replicas(servers: int) -> int:
    """Return how many NATS servers are to store each log, if the settings leave that open."""
    return 3 if servers >= 3 else 1


def charter_of(cluster: ClusterSettings, settings: Settings, jetstream: JetStream, values: JetStreamValues) -> Charter:
    """Return the charter of the cluster, which is made if there is none.

    Raises:
        StartError: this node does not fit the cluster, or NATS does not answer.
    """
    servers = len(cluster.nats_url or cluster.peers)
    founding = Founding(cluster, jetstream)
    while True:
        try:
            return join(
                values,
                settings.data,
                Wanted(cluster.shards, cluster.replicas),
                Wishes(DEFAULT_SHARDS, default_replicas(servers)),
                founding.await_all,
            )
        except (CharterError, OSError) as error:
            raise StartError(f"this node cannot join: {error}") from error
        except StorageError as error:
            logger.warning("waiting for NATS: %s", error)
            time.sleep(_INTERVAL_S)


class Founding:
    """The nodes of a cluster that is not made yet. All must be there, so that wrong peers cannot make two clusters."""

    def __init__(self, cluster: ClusterSettings, jetstream: JetStream) -> None:
        self._connection = jetstream.connection
        peers = sorted({each.name for each in cluster.peers} | {cluster.name})
        self._terms = {"peers": peers, "shards": cluster.shards, "replicas": cluster.replicas}
        self._missing = set(peers) - {cluster.name}
        self._own = json.dumps({"node": cluster.name, "terms": self._terms}).encode()
        self._different: str | None = None
        if self._missing:
            self._connection.subscribe(_SUBJECT, self._hear)

    def _hear(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
            node, terms = str(fields["node"]), fields["terms"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if terms != self._terms:
            self._different = f"the node {node} has {json.dumps(terms)}, and this one {json.dumps(self._terms)}"
        else:
            self._missing.discard(node)

    def await_all(self, is_made: Callable[[], bool]) -> None:
        """Wait until all nodes were heard, or the cluster is made, and let them hear this one.

        Raises:
            StartError: another node has other settings.
        """
        self.hear_all(is_made, self._say)
        self._say()  # another node may wait only for this one

    def hear_all(self, is_made: Callable[[], bool], say: Callable[[], None] = lambda: None) -> None:
        """Wait until all nodes were heard, or the cluster is made. ``say`` is called again and again.

        Raises:
            StartError: another node has other settings.
        """
        tell_s = time.monotonic() + TELL_S
        while self._missing and not is_made():
            if self._different is not None:
                raise StartError(
                    f"the nodes have different settings of the cluster: {self._different}. Make them equal."
                )
            if time.monotonic() > tell_s:
                tell_s = time.monotonic() + TELL_S
                logger.warning("a new cluster needs all of its nodes; waiting for %s", ", ".join(sorted(self._missing)))
            say()
            time.sleep(_INTERVAL_S)

    def _say(self) -> None:
        try:
            self._connection.publish(_SUBJECT, self._own, timeout_s=_CALL_S)
        except NatsError as error:
            logger.info("NATS cannot be reached: %s", error)
