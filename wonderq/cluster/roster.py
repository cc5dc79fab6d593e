"""The other nodes of a cluster, as one node has heard them."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from wonderq.cluster.announcements import Announcement, OfShard
from wonderq.ownership.neighbours import SUSPECT_S, clock_ahead_ms

#: Announcements of a node whose clock is compared. A delay on the way makes its clock look late, so the one with the
#: shortest delay counts.
_COMPARED = 10

#: Most nodes that are remembered. There are more only if somebody sends nonsense.
_MOST = 64


class Peer:
    """A node that was heard."""

    def __init__(self, said: Announcement, now_s: float) -> None:
        self.newest = said
        self.since_s = now_s
        """Since when it has been heard without a gap."""
        self.heard_s = now_s
        self._ahead_ms: deque[int] = deque(maxlen=_COMPARED)

    def hear(self, said: Announcement, now_s: float, time_ms: int) -> None:
        if now_s - self.heard_s >= SUSPECT_S:
            self.since_s = now_s
            self._ahead_ms.clear()
        self.newest, self.heard_s = said, now_s
        self._ahead_ms.append(time_ms - said.time_ms)

    @property
    def own_clock_ahead_ms(self) -> int:
        """By how much the clock of the node that listens is ahead of this one's."""
        return min(self._ahead_ms, key=abs)

    def hears(self, node: str, now_s: float) -> bool:
        """Return whether it has heard a node lately, as far as it has told."""
        ago_ms = self.newest.heard.get(node)
        return ago_ms is not None and now_s - self.heard_s + ago_ms / 1000 < SUSPECT_S


class Owner(NamedTuple):
    """The node that owns a shard, as far as it was heard."""

    node: str
    token: str
    """The token of its process."""
    epoch: int
    offered_to: str | None
    """The node to which it wants to hand the shard over."""
    said: OfShard
    """Its announcement of the shard."""


class Roster:
    """All other nodes. ``now_s`` is a monotonic time.

    Threads: the caller calls one method at a time.
    """

    def __init__(self, shards: int) -> None:
        self.newest_epoch = [0] * shards
        """Newest epoch of each shard that anybody ever knew of."""
        self._released_epoch = [0] * shards
        self._known: list[dict[str, int]] = [{} for _ in range(shards)]  # acknowledged sequence, by log
        self._peers: dict[str, Peer] = {}

    def hear(self, said: Announcement, now_s: float, time_ms: int) -> bool:
        """Take an announcement in; return whether it is worth a review at once. ``time_ms`` is the own wall clock."""
        peer = self._peers.get(said.token)
        before = None if peer is None else peer.newest
        if peer is None:
            peer = self._peers[said.token] = Peer(said, now_s)
            while len(self._peers) > _MOST:
                del self._peers[min(self._peers, key=lambda token: self._peers[token].heard_s)]
        peer.hear(said, now_s, time_ms)
        for shard, of in said.shards.items():
            if shard < len(self.newest_epoch):
                self.know(shard, of.log_id, of.sequence)
                self.know_epoch(shard, of.epoch)
                if of.role == "released":
                    self._released_epoch[shard] = max(self._released_epoch[shard], of.epoch)
        return before is None or _gist(before) != _gist(said)

    def know(self, shard: int, log_id: str, sequence: int) -> None:
        """Remember that a message of a shard's log was acknowledged."""
        if log_id:
            known = self._known[shard]
            known[log_id] = max(known.pop(log_id, 0), sequence)
            while len(known) > _MOST:
                del known[next(iter(known))]

    def know_epoch(self, shard: int, epoch: int) -> None:
        """Remember that an epoch of a shard has begun."""
        self.newest_epoch[shard] = max(self.newest_epoch[shard], epoch)

    def release(self, shard: int, epoch: int) -> None:
        """Remember that the owner of an epoch has ended."""
        self._released_epoch[shard] = max(self._released_epoch[shard], epoch)

    def known_sequence(self, shard: int, log_id: str) -> int:
        """Return the sequence of the newest message of a log that is known to be acknowledged, or 0."""
        return self._known[shard].get(log_id, 0)

    def newest_known(self, shard: int) -> tuple[str, int]:
        """Return the log of a shard that was heard of last, and the newest message of it that is known."""
        return next(reversed(self._known[shard].items()), ("", 0))

    def is_released(self, shard: int) -> bool:
        """Whether the newest owner of a shard has said that it ended."""
        return 0 < self.newest_epoch[shard] <= self._released_epoch[shard]

    def present(self, now_s: float) -> dict[str, Peer]:
        """Return the nodes that were heard lately, by name. After a restart, the newer process counts."""
        found: dict[str, Peer] = {}
        for peer in self._peers.values():
            if now_s - peer.heard_s < SUSPECT_S:
                other = found.get(peer.newest.node)
                if other is None or other.since_s < peer.since_s:
                    found[peer.newest.node] = peer
        return found

    def hears(self, token: str, now_s: float) -> bool:
        """Return whether the process with a token was heard lately."""
        peer = self._peers.get(token)
        return peer is not None and now_s - peer.heard_s < SUSPECT_S

    def own_clock_ahead_ms(self, node: str, now_s: float) -> int:
        """Return by how much the own clock is ahead of that of a node; 0 if that node is not heard."""
        peer = self.present(now_s).get(node)
        return 0 if peer is None else peer.own_clock_ahead_ms

    def url_of(self, node: str, now_s: float) -> str:
        """Return the address that a node announced; empty if it is not heard."""
        peer = self.present(now_s).get(node)
        return "" if peer is None else peer.newest.url

    def silent(self, now_s: float) -> dict[str, Peer]:
        """Return the nodes that were heard once and not lately, by name: of each, the process that was heard last."""
        present = self.present(now_s)
        by_time = sorted(self._peers.values(), key=lambda peer: peer.heard_s)
        return {peer.newest.node: peer for peer in by_time if peer.newest.node not in present}

    def owner(self, shard: int, now_s: float) -> Owner | None:
        """Return the owner of a shard among the other nodes, if it was heard lately.

        One with an older epoch than the newest does not own the shard any more, and does not know that yet.
        """
        for peer in self._peers.values():
            said = peer.newest
            of = said.shards.get(shard)
            is_owner = of is not None and of.role == "owner" and of.epoch >= self.newest_epoch[shard]
            if is_owner and of is not None and now_s - peer.heard_s < SUSPECT_S:
                offered_to = said.offered[1] if said.offered is not None and said.offered[0] == shard else None
                return Owner(said.node, said.token, of.epoch, offered_to, of)
        return None

    def heard(self, now_s: float) -> dict[str, int]:
        """Return the nodes that were heard lately, and how many ms ago, as an announcement tells it."""
        return {node: round((now_s - peer.heard_s) * 1000) for node, peer in self.present(now_s).items()}

    def owners(self, now_s: float) -> dict[int, str]:
        """Return the nodes that were heard lately to own shards."""
        found = {shard: self.owner(shard, now_s) for shard in range(len(self.newest_epoch))}
        return {shard: owner.node for shard, owner in found.items() if owner is not None}

    def hearing(self, node: str, now_s: float) -> tuple[int, int]:
        """Return how many nodes hear the node ``node``, which listens, and how many there are. Both count itself."""
        others = [peer for name, peer in self.present(now_s).items() if name != node]
        return 1 + sum(peer.hears(node, now_s) for peer in others), 1 + len(others)

    def is_kept(self, shard: int, node: str, now_s: float) -> bool:
        """Return whether a shard has an owner that ``node``, which listens, does not hear, but half of all nodes do.

        Such an owner does not step down, see `wonderq.cluster.steward`. It is no use to take the shard from it: the two
        would take it from each other all the time.
        """
        peers = self.present(now_s)
        owners = Counter(
            owner
            for peer in peers.values()
            if (owner := peer.newest.owners.get(shard)) is not None
            and owner not in (node, *peers)
            and peer.hears(owner, now_s)
        )
        return any(2 * (1 + count) >= len({*peers, owner, node}) for owner, count in owners.items())

    def agrees(self, node: str, now_s: float) -> bool:
        """Return whether all nodes hear each other, as far as ``node``, which listens, knows."""
        peers = self.present(now_s)
        return all({*peer.newest.heard, name} == {*peers, node} for name, peer in peers.items())

    def damaged_at(self, shard: int, now_s: float) -> str | None:
        """Return the name of a node that has found the shard's log damaged."""
        for node, peer in self.present(now_s).items():
            of = peer.newest.shards.get(shard)
            if of is not None and of.role == "damaged":
                return node
        return None

    def clock_ahead_ms(self, now_s: float) -> int | None:
        """Return by how much the own clock is ahead of the median of all clocks; None if no other node is heard."""
        others = [peer.own_clock_ahead_ms for peer in self.present(now_s).values()]
        return clock_ahead_ms(others) if others else None


def _gist(said: Announcement) -> object:
    """Return the part of an announcement that another node acts upon."""
    shards = {shard: (of.role, of.epoch) for shard, of in said.shards.items()}
    return said.state, said.offered, list(said.warm), shards, set(said.heard), said.owners
