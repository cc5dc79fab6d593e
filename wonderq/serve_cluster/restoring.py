"""`wonderq cluster restore`: makes a cluster with the contents of a backup."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from wonderq.cluster.charter import BUCKET
from wonderq.cluster_tools.backup import read_manifest
from wonderq.cluster_tools.restore import NewCluster, Restored, check_can_restore, find_backup, restore
from wonderq.config import ClusterSettings, Settings
from wonderq.serve_cluster.founding import Founding, default_replicas
from wonderq.serve_cluster.nats_servers import await_nats, open_nats
from wonderq.serve_cluster.serving import check_settings
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import JetStream


def restore_cluster(
    cluster: ClusterSettings, settings: Settings, backup: Path, progress: Callable[[int], object] = lambda _: None
) -> Restored:
    """Make a cluster with the contents of a backup, and end. The settings are those with which a node starts.

    Without servers of its own, the cluster's other nodes must be starting: they wait for the charter.

    Raises:
        StartError: the settings or NATS cannot be used.
        ClusterToolError, StorageError: see `wonderq.cluster_tools.restore.restore`.
    """
    check_settings(cluster, settings)
    backup = find_backup(backup)
    servers = len(cluster.nats_url or cluster.peers)
    replicas = cluster.replicas or default_replicas(servers)
    wanted = NewCluster(cluster.shards, replicas, settings.log_bytes)
    with ExitStack() as stack:
        jetstream = JetStream(open_nats(cluster, settings, stack).connect(f"wonderq {cluster.name}"))
        stack.callback(jetstream.connection.close)
        await_nats(jetstream)
        values = JetStreamValues(jetstream, BUCKET)
        check_can_restore(jetstream, values, read_manifest(backup), wanted)
        # This node keeps silent, so that the others do not make an empty cluster.
        Founding(cluster, jetstream).hear_all(lambda: False)
        return restore(jetstream, values, backup, wanted, progress)
