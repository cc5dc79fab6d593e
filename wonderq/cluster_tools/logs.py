"""The logs of a cluster, as a tool reaches them: over NATS, beside the nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from wonderq.cluster.announcements import Announcement, decode
from wonderq.cluster.charter import BUCKET, CHARTER, Charter
from wonderq.cluster.charter import decode as decode_charter
from wonderq_storage.jetstream_peers import JetStreamPeers
from wonderq_storage.jetstream_reader import LogReader
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.address import Address
from wonderq_storage.nats.child_server import read_address

#: Time in which each node is heard several times.
LISTEN_S = 1.0


class ClusterToolError(Exception):
    """A tool refuses. The message gives the reason and what to do."""


class ClusterLogs:
    """The logs of all shards, and what the nodes say of them. The caller owns the connection."""

    def __init__(self, jetstream: JetStream, values: JetStreamValues, charter: Charter) -> None:
        self.jetstream = jetstream
        self.values = values
        self.charter = charter
        self.nodes: dict[str, Announcement] = {}
        """The nodes that `hear` has heard."""
        self._known: dict[tuple[int, str], int] = {}
        self._log_ids: dict[int, tuple[int, str]] = {}

    def hear(self) -> None:
        """Listen to the nodes for a moment, to know what was acknowledged: a copy must have that."""
        peers = JetStreamPeers(self.jetstream, f"wonderq.{self.charter.cluster_id}")
        peers.listen(self._note)
        threading.Event().wait(LISTEN_S)

    def _note(self, data: bytes) -> None:
        found = decode(data)
        if found is None:
            return
        self.nodes[found.node] = found
        for shard, of in found.shards.items():
            if of.log_id:
                key = (shard, of.log_id)
                self._known[key] = max(self._known.get(key, 0), of.sequence)
                self._log_ids[shard] = max(self._log_ids.get(shard, (0, "")), (of.epoch, of.log_id))

    def reader(self, shard: int) -> LogReader:
        """Return a reader of the log of a shard."""
        return LogReader(self.jetstream, self.charter.stream(shard))

    def known(self, shard: int, log_id: str) -> int:
        """Return the sequence of the newest message of a log that the nodes know to be acknowledged.

        Raises:
            ClusterToolError: the nodes know another log of this shard.
        """
        _, other = self._log_ids.get(shard, (0, log_id))
        if other != log_id:
            raise ClusterToolError(
                f"NATS has the log {log_id} of shard {shard}, and the nodes have used the log {other}: acknowledged "
                "messages are gone. 'wonderq cluster status' shows more. Restore a backup into a new cluster"
            )
        return self._known.get((shard, log_id), 0)


def servers_of(data: Path | None, nats_url: Sequence[Address] | None, *, system: bool = False) -> list[Address]:
    """Return the addresses of NATS: those given, or that of the node whose folder is ``data``.

    Raises:
        ClusterToolError: there is no such node on this machine.
    """
    if nats_url is not None:
        return list(nats_url)
    assert data is not None
    try:
        return [read_address(data / "nats", system=system)]
    except FileNotFoundError as error:
        raise ClusterToolError(
            f"{data} is not the folder of a node that runs a NATS server. Give that of a node on this machine (--data) "
            "or the addresses of your own NATS servers (--nats-url)"
        ) from error
    except ValueError as error:
        raise ClusterToolError(f"{error}. Start that node with this version first") from error


@contextmanager
def open_logs(servers: Sequence[Address]) -> Iterator[ClusterLogs]:
    """Reach the cluster whose logs are on these NATS servers.

    Raises:
        ClusterToolError: they have none.
        CharterError: this version cannot read its charter.
        StorageError: NATS does not answer.
    """
    with closing(Connection(servers, name="wonderq")) as connection:
        jetstream = JetStream(connection)
        values = JetStreamValues(jetstream, BUCKET)
        found = values.get(CHARTER) if values.exists else None
        if found is None:
            raise ClusterToolError(
                f"the NATS servers at {', '.join(map(str, servers))} have no cluster. 'wonderq cluster start' makes one"
            )
        yield ClusterLogs(jetstream, values, decode_charter(found.data, "the value 'charter' in NATS"))
