"""The decisions of one node: which shards it reads, takes over, hands over and gives up. It does nothing by itself.

A wrong decision costs clients time and no message: whoever owns a shard is decided in the shard's log.

The rules against shards that move all the time:

- An owner that is heard keeps its shard, unless it offers it.
- An owner offers one shard at a time, and only if the same nodes were heard, and it has owned the shard, for some
  seconds. It closes the shard when the next owner has read it.
- A node that lost a shard to another one leaves it alone for some seconds, while others can own it.
- A shard without an owner is for the node that should have it; each further one waits longer.

A message may reach some nodes and not others. Then half of all nodes decide:

- An owner that fewer than half of the nodes hear gives its shards up after some seconds, if another node can own them.
- An owner that half of the nodes hear keeps its shards, also if this node does not hear it.
- Nothing moves for balance while some nodes do not hear each other: each would wish another thing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from wonderq.cluster.announcements import State
from wonderq.cluster.placement import Placement, ranking, wish
from wonderq.cluster.roster import Peer, Roster
from wonderq.ownership.neighbours import SUSPECT_S, Listening

#: Shards are offered to other nodes when the same nodes could own them for this long.
STEADY_S = 10.0

#: A node that lost a shard to another one leaves it to the others for this long.
KEEP_OFF_S = 10.0

#: A node that is not the one which should have a shard waits this long for each better one before it takes it.
RANK_S = 2.0

#: An offer that was not taken for this long ends, and is not repeated for as long.
OFFER_S = 60.0

#: A node that has just got a shard may not have read yet why: it gives the shard to no other one for this long.
PLACEMENT_S = 2.0

#: An owner that fewer than half of the nodes hear for this long steps down.
UNHEARD_S = 3.0

#: A node whose clock is further off than this owns nothing.
MAX_CLOCK_AHEAD_MS = 250

Phase = Literal["none", "reading", "warm", "taking", "owned", "closing", "outdated", "damaged"]
"""``taking``: it may take over. ``closing``: it gives the shard up, and has not ended yet. ``outdated``: it cannot read
what a newer WonderQ has written."""


class Own(NamedTuple):
    """What this node does with one shard at present."""

    phase: Phase = "none"
    epoch: int = 0
    """Its own epoch, in the phases ``owned`` and ``closing``."""


class Orders(NamedTuple):
    """What the node should do now. Each has the numbers of shards."""

    read: Sequence[int] = ()
    take: Sequence[int] = ()
    leave: Sequence[int] = ()
    """Not to read any more, because another node owns the shard."""
    release: Sequence[int] = ()
    confirm: Sequence[int] = ()
    """To look whether the shard was lost, because another node says that it owns it."""
    wait_s: float = 0.1
    """Longest time until the next review."""


class Steward:
    """The decisions of the node ``node`` about all shards.

    Threads: the caller calls one method at a time.
    """

    def __init__(self, node: str, shards: int, roster: Roster, now_s: float) -> None:
        self.node = node
        self.shards = shards
        self.roster = roster
        self.placement = Placement()
        self.is_draining = False
        self.offered: tuple[int, str] | None = None
        self._offered_since_s = 0.0
        self._not_before_s: dict[tuple[int, str], float] = {}  # of an offer that was not taken
        self._keep_off_until_s = [0.0] * shards
        self._without_owner_since_s: list[float | None] = [None] * shards
        self._owned_since_s: list[float | None] = [None] * shards
        self._is_promised = [False] * shards  # whether the owner has offered the shard to this node
        self._listening = Listening(now_s)
        self._candidates: list[str] = []
        self._same_since_s = now_s  # since when the same nodes can own shards, and hear each other
        self._unheard_since_s: float | None = None  # since when fewer than half of the nodes hear this one

    def lose(self, shard: int, now_s: float) -> None:
        """Leave a shard to other nodes for some time."""
        self._keep_off_until_s[shard] = now_s + KEEP_OFF_S

    def state(self, now_s: float) -> State:
        """Return whether this node may own shards."""
        if self.is_draining or self.node in self.placement.drained:
            return "draining"
        return "unable" if self.is_clock_off(now_s) or self.is_unheard(now_s) else "able"

    def is_clock_off(self, now_s: float) -> bool:
        """Return whether the clock of this node differs from most others."""
        ahead_ms = self.roster.clock_ahead_ms(now_s)
        return ahead_ms is not None and abs(ahead_ms) > MAX_CLOCK_AHEAD_MS

    def is_unheard(self, now_s: float) -> bool:
        """Return whether this node must step down, because too few others hear it."""
        return self._unheard_since_s is not None and now_s - self._unheard_since_s >= UNHEARD_S

    def _listen(self, is_connected: bool, now_s: float) -> None:
        """Note whether the others hear this node. A node that was paused, or cut off, cannot know that yet."""
        is_paused = self._listening.review(now_s)
        if is_paused:
            self._without_owner_since_s = [None] * self.shards
        hearing, nodes = self.roster.hearing(self.node, now_s)
        can_others_own = any(peer.newest.state == "able" for peer in self.roster.present(now_s).values())
        if is_paused or not is_connected or not can_others_own or 2 * hearing >= nodes:
            self._unheard_since_s = None
        elif self._unheard_since_s is None:
            self._unheard_since_s = now_s

    def _knows_that_its_clock_is_off(self, now_s: float) -> bool:
        """Return whether it is this clock, and not that of the only other node."""
        return len(self.roster.present(now_s)) > 1 and self.is_clock_off(now_s)

    def review(self, own: Sequence[Own], connected_s: float, now_s: float) -> Orders:
        """Return what to do. ``connected_s`` is how long this node has been connected to NATS; 0 if it is not."""
        self._listen(connected_s > 0, now_s)
        if not connected_s:
            return Orders()  # it can neither hear nor store anything; what it owns answers for itself
        peers = self.roster.present(now_s)
        state = self.state(now_s)
        able = [name for name, peer in peers.items() if peer.newest.state == "able"]
        # A set: another process may have this name, which counts once for all other nodes, too.
        candidates = sorted({*able, self.node} if state == "able" else able)
        if candidates != self._candidates or not self.roster.agrees(self.node, now_s):
            self._candidates, self._same_since_s = candidates, now_s
        wanted = wish(self.shards, candidates, self.placement)
        has_listened = min(connected_s, self._listening.listened_s(now_s)) >= SUSPECT_S
        read, take, leave, release, confirm = [], [], [], [], []
        for shard, (phase, epoch) in enumerate(own):
            owner = self.roster.owner(shard, now_s)
            if phase != "owned":
                self._owned_since_s[shard] = None
            if phase == "owned":
                self._without_owner_since_s[shard] = None
                self._is_promised[shard] = False
                if self._owned_since_s[shard] is None:
                    self._owned_since_s[shard] = now_s
                if self.roster.newest_epoch[shard] > epoch:
                    confirm.append(shard)
                elif self.is_unheard(now_s) or (not able and self._knows_that_its_clock_is_off(now_s)):
                    release.append(shard)
            elif phase in ("closing", "outdated", "damaged"):
                continue
            elif owner is not None or self.roster.is_kept(shard, self.node, now_s):
                self._without_owner_since_s[shard] = None
                is_offered = owner is not None and owner.offered_to == self.node and state == "able"
                self._is_promised[shard] = is_offered
                if phase == "none" and is_offered:
                    read.append(shard)
                elif phase != "none" and not is_offered:
                    leave.append(shard)
            elif state != "able":
                if phase != "none":
                    leave.append(shard)
            elif phase != "taking" and self._may_take(shard, candidates, wanted[shard], has_listened, now_s):
                take.append(shard)
        release += self._hand_over(own, wanted, peers, state, now_s)
        return Orders(read, take, leave, release, confirm)

    def _may_take(
        self, shard: int, candidates: Collection[str], wanted: str | None, has_listened: bool, now_s: float
    ) -> bool:
        """Return whether to take over a shard that nobody is heard to own."""
        since_s = self._without_owner_since_s[shard]
        if since_s is None:
            since_s = self._without_owner_since_s[shard] = now_s
        if now_s < self._keep_off_until_s[shard] and len(candidates) > 1:
            return False
        is_released = self.roster.is_released(shard)
        if is_released and self._is_promised[shard]:
            return True
        if not has_listened and not is_released:
            return False
        ranked = [wanted, *(node for node in ranking(shard, candidates) if node != wanted)]
        return now_s - since_s >= RANK_S * ranked.index(self.node)

    def _hand_over(
        self, own: Sequence[Own], wanted: Sequence[str | None], peers: dict[str, Peer], state: State, now_s: float
    ) -> list[int]:
        """Offer a shard to the node that should have it; return the shard to close, once that node has read it."""
        if self.offered is not None:
            shard, target = self.offered
            if own[shard].phase == "closing":
                return []  # the next owner waits for the end, so the offer stays
            if own[shard].phase != "owned" or wanted[shard] != target or target not in peers:
                self.offered = None
            elif shard in peers[target].newest.warm:
                return [shard]
            elif now_s - self._offered_since_s > OFFER_S:
                self._not_before_s[self.offered] = now_s + OFFER_S
                self.offered = None
        if self.offered is None and not any(each.phase == "closing" for each in own):
            for shard, (phase, _) in enumerate(own):
                to = wanted[shard]
                if phase != "owned" or to is None or to == self.node or now_s < self._not_before_s.get((shard, to), 0):
                    continue
                owned_since_s = self._owned_since_s[shard] or now_s
                is_pinned = self.placement.pins.get(shard) == to and now_s - owned_since_s >= PLACEMENT_S
                is_urgent = state != "able" or is_pinned
                steady_since_s = max(self._same_since_s, owned_since_s)
                if is_urgent or now_s - steady_since_s >= STEADY_S:
                    self.offered, self._offered_since_s = (shard, to), now_s
                    break
        return []
