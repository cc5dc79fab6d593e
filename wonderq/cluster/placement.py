"""Which node should have each shard. This is a wish: the node owns it whose epoch record is the newest in its log.

All nodes that hear the same nodes compute the same wish, so no table of shards must be kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import NamedTuple

from wonderq_storage import StorageError

#: Name of the value that holds what people have decided.
PLACEMENT = "placement"


class PlacementUnknownError(StorageError):
    """A change of the placement may or may not have been stored."""


class Placement(NamedTuple):
    """What people have decided about the places of shards."""

    pins: Mapping[int, str] = {}
    """Nodes of shards that were transferred. A pin counts while its node can own shards."""
    drained: frozenset[str] = frozenset()
    """Nodes that shall own nothing."""

    def encode(self) -> bytes:
        pins = {str(shard): node for shard, node in sorted(self.pins.items())}
        return json.dumps({"pins": pins, "drained": sorted(self.drained)}).encode()

    def transfer(self, shard: int, node: str) -> Placement:
        return self._replace(pins={**self.pins, shard: node})

    def drain(self, node: str) -> Placement:
        pins = {shard: pinned for shard, pinned in self.pins.items() if pinned != node}
        return Placement(pins, self.drained | {node})

    def undrain(self, node: str) -> Placement:
        return self._replace(drained=self.drained - {node})


def decode(data: bytes) -> Placement:
    """Read a placement. Bytes that are none count as an empty one: it is only a wish."""
    try:
        fields = json.loads(data)
        pins = {int(shard): str(node) for shard, node in fields["pins"].items()}
        return Placement(pins, frozenset(map(str, fields["drained"])))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Placement()


def ranking(shard: int, nodes: Collection[str]) -> list[str]:
    """Return the nodes in the order in which they should own a shard (rendezvous hashing)."""
    return sorted(nodes, key=lambda node: (_weight(shard, node), node), reverse=True)


def _weight(shard: int, node: str) -> bytes:
    return blake2b(f"{shard}/{node}".encode(), digest_size=8).digest()


def wish(shards: int, nodes: Collection[str], placement: Placement) -> list[str | None]:
    """Return the node that should own each shard; None if there is no node.

    Each node gets the shards that it ranks highest for, up to an equal part. A pin moves its own shard and no other.
    """
    able = [node for node in nodes if node not in placement.drained] or list(nodes)
    if not able:
        return [None] * shards
    wanted: list[str | None] = []
    room = dict.fromkeys(able, shards // len(able))
    extra = shards % len(able)  # as many nodes have one more
    for shard in range(shards):
        ranked = ranking(shard, able)
        least = 0 if extra else 1
        node = next((node for node in ranked if room[node] >= least), ranked[0])
        extra -= room[node] == 0
        room[node] -= 1
        pinned = placement.pins.get(shard)
        wanted.append(pinned if pinned in room else node)
    return wanted
