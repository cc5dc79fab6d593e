"""One node of a cluster: it hears the others, owns some shards, and hands shards over."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from wonderq.broker.broker import Broker
from wonderq.cluster import placement
from wonderq.cluster.announcements import Announcement, OfShard, decode
from wonderq.cluster.charter import Charter, Values
from wonderq.cluster.placement import PLACEMENT, Placement, PlacementUnknownError
from wonderq.cluster.roster import Roster
from wonderq.cluster.shard import NO_QUORUM_S, OwnedShard, Shard
from wonderq.cluster.shards import Process
from wonderq.cluster.steward import Steward
from wonderq.httpd.errors import RequestError
from wonderq.rest.error_codes import ERROR_CODES
from wonderq_storage import StorageError

logger = logging.getLogger("wonderq.cluster")

#: Interval of the announcements.
ANNOUNCE_S = 0.2

#: Interval at which the values that all nodes share, and one of the own streams, are looked at.
_LOOK_S = 1.0

#: The nodes have a quorum if the shared values could be read, or an own shard stored something, within this time.
_QUORUM_S = 5.0

_NO_QUORUM = "This node does not reach enough NATS servers, so nothing can be stored."

#: Longest time for giving all shards away before the process ends, and for closing those that are left.
_DRAIN_S, _CLOSE_S = 30.0, 20.0


class Seen(Protocol):
    """The state of a stream."""

    @property
    def replicas(self) -> int: ...

    @property
    def replicas_current(self) -> int: ...


class Peers(Protocol):
    """The connection to the other nodes."""

    @property
    def connected_s(self) -> float:
        """How long this node has been connected to NATS; 0 if it is not."""

    def listen(self, callback: Callable[[bytes], None]) -> None:
        """Have what the others announce passed on. ``callback`` must not wait or raise."""

    def announce(self, data: bytes) -> None:
        """Tell the others something. It is lost without a connection."""

    def look(self, shard: int) -> Seen | None:
        """Return the state of a shard's stream, or None if no leader of it answers."""


class NodeStatus(NamedTuple):
    """A node, as another one sees it."""

    name: str
    url: str
    version: str
    state: str
    clock_ahead_ms: int
    """By how much its clock is ahead of that of the node that was asked."""


class SilentNode(NamedTuple):
    """A node that another one heard once, and does not hear any more."""

    name: str
    url: str
    version: str
    silent_s: float
    """Time since it was heard last."""


class ShardStatus(NamedTuple):
    """A shard, as a node sees it."""

    shard: int
    status: str
    """``owned``, ``unavailable`` (no node is heard to own it) or ``damaged``."""
    owner: str | None
    epoch: int
    last_sequence: int
    wanted: str | None
    """Node that should own it."""
    problem: str | None
    log_bytes: int | None
    """Size of its log; like what follows None if no owner tells it."""
    waiting_ms: int | None
    """Time that its oldest group without an acknowledgement has waited."""
    replicas: int | None
    """NATS servers that are to have its log."""
    replicas_current: int | None
    """NATS servers that have all of its log."""


class Node:
    """This node. It is the `wonderq.cluster.shards.Shards` of its process.

    ``own`` opens the log of a shard with the shard as its turn, and runs a broker on it.

    Threads: any number may call any method.
    """

    def __init__(
        self,
        name: str,
        charter: Charter,
        peers: Peers,
        values: Values,
        own: Callable[[Shard], AbstractContextManager[OwnedShard]],
        *,
        url: str = "",
        version: str = "",
        follow: Callable[[], None] = lambda: None,
    ) -> None:
        """``follow`` is called about once a second, to follow other values that all nodes share. It may wait."""
        self.node = name
        self.cluster_id = charter.cluster_id
        self.count = charter.shards
        self.url = url
        self._version = version
        self._follow = follow
        self._peers = peers
        self._values = values
        self.token = secrets.token_hex(8)
        """Random text that this process announces."""
        self._lock = threading.Condition()
        self._roster = Roster(charter.shards)
        self._steward = Steward(name, charter.shards, self._roster, time.monotonic())
        self.shards = [Shard(number, self, own) for number in range(charter.shards)]
        self.seen: dict[int, Seen | None] = {}
        """Streams of own shards as they were seen last."""
        self._callbacks: list[Callable[[int], None]] = []
        self._changed: set[int] = set()
        self._owners: list[Process | None] = [None] * charter.shards
        self._must_review = False
        self._must_announce = False
        self._is_unheard = False
        self._quorum_s = time.monotonic()  # when there was a sign of a quorum last
        self._stored_s = -math.inf  # when an own shard was seen to have stored something last
        self._stored: dict[int, int] = {}  # newest messages of own shards
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"wonderq-{what}", daemon=True)
            for what, run in (("cluster", self._run), ("observer", self._observe))
        ]

    # Shards

    def local(self, shard: int) -> Broker | None:
        """Return the broker of a shard that this node owns now, or None."""
        owned = self.shards[shard].owned
        return None if owned is None else owned.broker

    def owner(self, shard: int) -> str | None:
        """Return the name of the node that was last heard to own a shard; None if no node is heard to own it."""
        owner = self._owners[shard]
        return None if owner is None else owner.node

    def process(self, shard: int) -> Process | None:
        """Return the process that was last heard to own a shard, as `owner` does."""
        return self._owners[shard]

    def hears(self, process: Process) -> bool:
        """Return whether a process of another node was heard lately."""
        with self._lock:
            return self._roster.hears(process.token, time.monotonic())

    def time_ms(self, node: str) -> int:
        """Return the wall clock of another node; the own one if that node is not heard."""
        with self._lock:
            return _now_ms() - self._roster.own_clock_ahead_ms(node, time.monotonic())

    def url_of(self, node: str) -> str:
        """Return the address at which clients reach another node, as it announced it; empty if it is not heard."""
        with self._lock:
            return self._roster.url_of(node, time.monotonic())

    def changed(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Have ``callback(shard)`` called after the broker or the owner of a shard has changed, as `Shards` says."""
        with self._lock:
            self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def obstacle(self, shard: int) -> RequestError | None:
        """Return why no request of a shard can be carried out at present, whoever owns it; None if nothing is known."""
        if self.shards[shard].owned is not None:
            return None if self.has_quorum_for(shard) else _refusal("no_quorum", _NO_QUORUM)
        if self.owner(shard) is None and (damaged := self._damage(shard)) is not None:
            return _refusal("log_damaged", f"Shard {shard} is damaged: {damaged}")
        return _refusal("no_quorum", _NO_QUORUM) if self._is_cut_off(shard) else None

    def _is_cut_off(self, shard: int) -> bool:
        """Return whether this node can neither reach the owner of a shard nor become it. Short troubles pass."""
        age_s = time.monotonic() - self._quorum_s
        if not self.is_connected:
            return age_s > NO_QUORUM_S
        return self.owner(shard) is None and age_s > _QUORUM_S

    def _damage(self, shard: int) -> str | None:
        """Return why a shard is damaged, or None."""
        own = self.shards[shard]
        if own.own.phase == "damaged":
            return own.trouble or "its log cannot be read"
        with self._lock:
            node = self._roster.damaged_at(shard, time.monotonic())
            has_owner = self._roster.owner(shard, time.monotonic()) is not None
        return None if node is None or has_owner or own.owned is not None else f"the node {node} cannot read its log"

    # What the node sees

    @property
    def is_connected(self) -> bool:
        """Whether this node is connected to a server."""
        return self._peers.connected_s > 0

    @property
    def has_quorum(self) -> bool:
        """Whether NATS stores something at present, as far as this node knows."""
        if not self.is_connected:
            return False
        # Each stream elects its leader on its own, so one that waits says nothing about others. But while one waits,
        # only what others store counts: a NATS server that is cut off answers questions for some seconds.
        if any(not each.has_quorum for each in self.shards if each.owned is not None):
            return time.monotonic() - self._stored_s <= NO_QUORUM_S
        return time.monotonic() - self._quorum_s <= _QUORUM_S

    def has_quorum_for(self, shard: int) -> bool:
        """Whether what the broker of an own shard appends becomes durable, as far as this node knows."""
        is_lost = not self.is_connected and time.monotonic() - self._quorum_s > NO_QUORUM_S
        return self.shards[shard].has_quorum and not is_lost

    @property
    def clock_ahead_ms(self) -> int | None:
        """By how much the own clock is ahead of most others, or None if no other node is heard."""
        with self._lock:
            return self._roster.clock_ahead_ms(time.monotonic())

    @property
    def placement(self) -> Placement:
        """What people have decided about the places of shards, as it was read last."""
        return self._steward.placement

    @property
    def state(self) -> str:
        """``able``, ``draining`` or ``unable``: whether this node may own shards."""
        with self._lock:
            return self._steward.state(time.monotonic())

    @property
    def warnings(self) -> list[str]:
        """Problems of this node that an operator must solve."""
        with self._lock:
            now_s = time.monotonic()
            ahead_ms = self._roster.clock_ahead_ms(now_s)
            is_off, is_unheard = self._steward.is_clock_off(now_s), self._steward.is_unheard(now_s)
            has_namesake = self.node in self._roster.present(now_s)
        outdated = [str(each.number) for each in self.shards if each.own.phase == "outdated"]
        found = []
        if outdated:
            shards = f"shard{'s' if len(outdated) > 1 else ''} {', '.join(outdated)}"
            found.append(f"This node is too old for {shards}, so it cannot take over. Install a newer WonderQ.")
        if has_namesake:
            found.append(f"Another process is also called {self.node}. Start each node with a --name of its own.")
        if ahead_ms is not None and is_off:
            side = "ahead of" if ahead_ms > 0 else "behind"
            text = f"The clock of this machine is {abs(ahead_ms) / 1000:.1f} s {side} the others"
            found.append(f"{text}, so this node takes no shard. Correct the clock, for example with NTP.")
        if is_unheard:
            found.append(
                "Fewer than half of the nodes hear this one, although it hears them, so it owns no shard. See that the "
                "NATS servers reach each other in both directions."
            )
        return found

    def nodes(self) -> list[NodeStatus]:
        """Return all nodes that are heard, and this one."""
        with self._lock:
            now_s = time.monotonic()
            found = [NodeStatus(self.node, self.url, self._version, self._steward.state(now_s), 0)]
            for name, peer in self._roster.present(now_s).items():
                said = peer.newest
                found.append(NodeStatus(name, said.url, said.version, said.state, -peer.own_clock_ahead_ms))
        return sorted(found)

    def silent_nodes(self) -> list[SilentNode]:
        """Return the nodes that were heard once since the start, and are not heard any more."""
        with self._lock:
            now_s = time.monotonic()
            found = self._roster.silent(now_s)
        return sorted(
            SilentNode(name, peer.newest.url, peer.newest.version, round(now_s - peer.heard_s, 1))
            for name, peer in found.items()
            if name != self.node
        )

    def statuses(self) -> list[ShardStatus]:
        """Return all shards."""
        with self._lock:
            now_s = time.monotonic()
            able = {name for name, peer in self._roster.present(now_s).items() if peer.newest.state == "able"}
            if self._steward.state(now_s) == "able":
                able.add(self.node)
            wanted = placement.wish(self.count, able, self._steward.placement)
            known = [self._roster.newest_known(shard)[1] for shard in range(self.count)]
            epochs = list(self._roster.newest_epoch)
            others = [self._roster.owner(shard, now_s) for shard in range(self.count)]
        told = [None if other is None else other.said for other in others]
        return [self._status(*each) for each in zip(range(self.count), epochs, known, wanted, told, strict=True)]

    def _status(self, shard: int, epoch: int, sequence: int, wanted: str | None, told: OfShard | None) -> ShardStatus:
        damage, owner = self._damage(shard), self.owner(shard)
        own = self.shards[shard]
        status = "damaged" if damage is not None else "unavailable" if owner is None else "owned"
        if (owned := own.owned) is not None:
            sequence = owned.log.acknowledged_sequence
            told = self._with_figures(shard, OfShard("owner", epoch, "", sequence))
        figures: tuple[int | None, ...] = (None,) * 4
        if told is not None:
            replicas = (told.replicas, told.replicas_current) if told.replicas else (None, None)
            figures = (told.log_bytes, told.waiting_ms, *replicas)
        return ShardStatus(shard, status, owner, epoch, sequence, wanted, damage or own.trouble, *figures)

    def _with_figures(self, shard: int, told: OfShard) -> OfShard:
        """Return what to tell of a shard, with the figures of this node if it is the owner."""
        owned, seen = self.shards[shard].owned, self.seen.get(shard)
        if owned is None:
            return told
        told = told._replace(log_bytes=owned.log.used_bytes(), waiting_ms=round(owned.log.waiting_s * 1000))
        if seen is not None:
            told = told._replace(replicas=seen.replicas, replicas_current=seen.replicas_current)
        return told

    def place(self, change: Callable[[Placement], Placement]) -> None:
        """Change what people have decided about the places of shards, for all nodes.

        Raises:
            PlacementUnknownError: another node changes it at the same time, or NATS does not answer. The change may
                have been stored.
            StorageError: NATS does not answer. Nothing was changed.
        """
        found = self._values.get(PLACEMENT)
        present = Placement() if found is None else placement.decode(found.data)
        changed = change(present)
        if changed != present:
            try:
                self._values.put(PLACEMENT, changed.encode(), revision=0 if found is None else found.revision)
            except StorageError as error:
                raise PlacementUnknownError(str(error)) from error
        self._adopt(changed)

    def _adopt(self, found: Placement) -> None:
        with self._lock:
            if found != self._steward.placement:
                self._steward.placement = found
                self._must_review = self._must_announce = True
                self._lock.notify_all()

    # What the shards tell

    def phase_changed(self, shard: int) -> None:
        with self._lock:
            self._changed.add(shard)
            self._must_review = self._must_announce = True
            self._lock.notify_all()

    def known_sequence(self, shard: int, log_id: str) -> int:
        with self._lock:
            return self._roster.known_sequence(shard, log_id)

    def known_log(self, shard: int) -> tuple[str, int]:
        with self._lock:
            return self._roster.newest_known(shard)

    def know_epoch(self, shard: int, epoch: int) -> None:
        with self._lock:
            self._roster.know_epoch(shard, epoch)

    def lost(self, shard: int) -> None:
        with self._lock:
            self._steward.lose(shard, time.monotonic())

    def released(self, shard: int, epoch: int, log_id: str, sequence: int) -> None:
        with self._lock:
            self._roster.know(shard, log_id, sequence)
            self._roster.release(shard, epoch)

    # The life

    def start(self) -> None:
        """Begin to listen, and to take shards."""
        self._peers.listen(self._hear)
        for each in self._threads:
            each.start()

    def drain(self) -> None:
        """Give all shards to other nodes, as long as there are any that take them."""
        with self._lock:
            self._steward.is_draining = True
            self._must_review = self._must_announce = True
            self._lock.notify_all()
        deadline_s = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline_s and not self._ended.wait(0.05):
            with self._lock:
                peers = self._roster.present(time.monotonic()).values()
                has_takers = any(peer.newest.state == "able" for peer in peers)
            if not has_takers or not any(each.own.phase in ("owned", "closing", "taking") for each in self.shards):
                return

    def stop(self) -> None:
        """Close the brokers that are left, tell the others, and end."""
        with self._lock:
            self._steward.is_draining = True  # or this node would take what it has just released
        for each in self.shards:
            each.leave()
        for each in self.shards:
            each.join(_CLOSE_S)
        self._ended.set()
        with self._lock:
            self._lock.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._peers.announce(self._announcement())  # as the last one, or the others would wait for this node

    def stop_claiming(self) -> None:
        """Answer the consumers that wait, because the process is about to end."""
        for shard in range(self.count):
            if (broker := self.local(shard)) is not None:
                broker.stop_claiming()

    # Threads

    def _hear(self, data: bytes) -> None:
        """Take in what another node announces. The thread that reads the connection calls it."""
        said = decode(data)
        if said is None or said.token == self.token:
            return
        with self._lock:
            if self._roster.hear(said, time.monotonic(), _now_ms()):
                self._must_review = True
                self._lock.notify_all()

    def _run(self) -> None:
        """Announce and decide."""
        announced_s = 0.0
        while not self._ended.is_set():
            try:
                self._notice_what_is_stored()
                self._review()
                now_s = time.monotonic()
                with self._lock:
                    is_due, self._must_announce = self._must_announce or now_s - announced_s >= ANNOUNCE_S, False
                if is_due:
                    announced_s = now_s
                    self._peers.announce(self._announcement())
                self._tell_changes()
            except Exception:
                logger.critical("a step of the cluster's node has failed", exc_info=True)
            with self._lock:
                if not self._must_review and not self._must_announce:
                    self._lock.wait(max(announced_s + ANNOUNCE_S - time.monotonic(), 0.01))
                self._must_review = False

    def _notice_what_is_stored(self) -> None:
        """Take new messages of own shards for a sign of a quorum: the shared values may have no leader at present."""
        newest = {each.number: owned.log.acknowledged_sequence for each in self.shards if (owned := each.owned)}
        if any(sequence > self._stored.get(shard, sequence) for shard, sequence in newest.items()):
            self._stored_s = self._quorum_s = time.monotonic()
        self._stored = newest

    def _review(self) -> None:
        own = [each.own for each in self.shards]
        with self._lock:
            offered, now_s = self._steward.offered, time.monotonic()
            orders = self._steward.review(own, self._peers.connected_s, now_s)
            was_unheard, self._is_unheard = self._is_unheard, self._steward.is_unheard(now_s)
            self._must_announce = self._must_announce or offered != self._steward.offered
        if self._is_unheard and not was_unheard:
            logger.warning("fewer than half of the nodes hear this one, so it owns no shard until they do")
        for shard in orders.read:
            self.shards[shard].read()
        for shard in orders.take:
            self.shards[shard].take()
        for shard in (*orders.leave, *orders.release):
            self.shards[shard].leave()
        for shard in orders.confirm:
            self.shards[shard].confirm()
        for each in self.shards:
            each.look_after()

    def _announcement(self) -> bytes:
        of_shards = [
            None if (own := each.announcement()) is None else self._with_figures(each.number, own)
            for each in self.shards
        ]
        phases = [each.own.phase for each in self.shards]
        with self._lock:
            now_s = time.monotonic()
            told: dict[int, OfShard] = {}
            for shard, own in enumerate(of_shards):
                of = own or OfShard("other", 0, "", 0)
                self._roster.know(shard, of.log_id, of.sequence)
                # In each role: a node that restarts has no other source, and would not notice that messages are lost.
                log_id, sequence = self._roster.newest_known(shard)
                epoch = of.epoch or self._roster.newest_epoch[shard]
                told[shard] = of._replace(epoch=epoch, log_id=log_id, sequence=sequence)
            return Announcement(
                self.node,
                self.token,
                self._steward.state(now_s),
                self._version,
                self.url,
                _now_ms(),
                self._steward.offered,
                [shard for shard, phase in enumerate(phases) if phase == "warm"],
                told,
                self._roster.heard(now_s),
                self._roster.owners(now_s),
            ).encode()

    def _tell_changes(self) -> None:
        """Call the callbacks for shards whose owner or broker has changed."""
        now_s = time.monotonic()
        owners = [Process(self.node, self.token) if each.owned is not None else None for each in self.shards]
        with self._lock:
            for shard, own in enumerate(owners):
                other = self._roster.owner(shard, now_s) if own is None else None
                owner = own or (Process(other.node, other.token) if other is not None else None)
                if owner != self._owners[shard]:
                    self._owners[shard] = owner
                    self._changed.add(shard)
            changed, self._changed = sorted(self._changed), set()
            callbacks = list(self._callbacks)
        for shard in changed:
            for callback in callbacks:
                callback(shard)

    def _observe(self) -> None:
        """Read the values that all nodes share, and look at the own streams one after the other."""
        turn = 0
        while True:
            if self.is_connected:
                turn += 1
                self._look(turn)
            if self._ended.wait(_LOOK_S):
                return

    def _look(self, turn: int) -> None:
        try:
            found = self._values.get(PLACEMENT)
            self._follow()
        except StorageError as error:
            logger.info("the values of the cluster cannot be read: %s", error)
            return
        self._quorum_s = time.monotonic()
        self._adopt(Placement() if found is None else placement.decode(found.data))
        own = [each.number for each in self.shards if each.owned is not None]
        self.seen = {shard: seen for shard, seen in self.seen.items() if shard in own}
        if own:
            shard = own[turn % len(own)]
            self.seen[shard] = self._peers.look(shard)


def _refusal(code: str, text: str) -> RequestError:
    return RequestError(503, code, text, headers={"Retry-After": str(ERROR_CODES[code].retry_after_s)})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
