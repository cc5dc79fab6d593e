"""The shard of a queue, which every node computes from the queue's name alone."""

from __future__ import annotations

from zlib import crc32

#: Queues whose names are equal up to here are on one shard.
_TOGETHER = "--"

_FIFO = ".fifo"


def shard_of(queue: str, shards: int) -> int:
    """Return the number of the shard, from 0, that has a queue. ``shards`` is the number of shards of the cluster.

    Only the part of the name before the first ``--`` counts, without ``.fifo``. So `orders`, `orders--dead` and
    `orders.fifo` are on the same shard.
    """
    name = queue.partition(_TOGETHER)[0].removesuffix(_FIFO)
    return crc32(name.encode()) % shards
