"""A cluster in simulated time: real decisions of its nodes, and logs, messages and clocks that the test controls."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from wonderq.cluster.announcements import Announcement, OfShard, decode
from wonderq.cluster.placement import wish
from wonderq.cluster.roster import Roster
from wonderq.cluster.steward import Own, Phase, Steward

STEP_S = 0.1
_ANNOUNCE_STEPS = 2


class SimulatedLog:
    """The log of one shard: who took it over last. It lets only the newest owner append."""

    def __init__(self) -> None:
        self.epoch = 0
        self.sequence = 0
        self.takeovers: list[tuple[float, str]] = []


class SimulatedShard:
    """The state of one shard at one node."""

    def __init__(self) -> None:
        self.phase: Phase = "none"
        self.epoch = 0
        self.reached_epoch = 0
        self.may_take = False
        self.busy_until_s = 0.0
        self.not_before_s = 0.0
        self.released_epoch = 0

    @property
    def own(self) -> Own:
        return Own(self.phase, self.epoch if self.phase in ("owned", "closing") else 0)

    def forget(self) -> None:
        self.phase, self.epoch, self.may_take = "none", 0, False


class SimulatedNode:
    """One node. ``is_alive``: its process exists. ``is_frozen``: it does nothing. ``is_cut``: it reaches nobody."""

    def __init__(self, cluster: SimulatedCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.lives = 0
        self.ahead_ms = 0
        self.is_frozen = self.is_cut = False
        self.start()

    def start(self) -> None:
        """Start it, or start it again as a new process."""
        self.lives += 1
        self.is_alive = True
        self.is_frozen = False
        self.connected_s = self.cluster.now_s
        self.roster = Roster(self.cluster.count)
        self.steward = Steward(self.name, self.cluster.count, self.roster, self.cluster.now_s)
        self.shards = [SimulatedShard() for _ in range(self.cluster.count)]

    @property
    def works(self) -> bool:
        return self.is_alive and not self.is_frozen

    @property
    def owned(self) -> list[int]:
        return [number for number, each in enumerate(self.shards) if each.phase == "owned"]

    def kill(self) -> None:
        self.is_alive = False

    def cut(self, is_cut: bool) -> None:
        self.is_cut = is_cut
        if not is_cut:
            self.connected_s = self.cluster.now_s

    @property
    def _time_ms(self) -> int:
        return round(self.cluster.now_s * 1000) + self.ahead_ms

    def hear(self, data: bytes) -> None:
        said = decode(data)
        assert said is not None
        self.roster.hear(said, self.cluster.now_s, self._time_ms)

    def announcement(self) -> bytes:
        told = {}
        for number, each in enumerate(self.shards):
            if each.phase in ("owned", "closing"):
                told[number] = OfShard("owner", each.epoch, "aa", 0)
            elif each.released_epoch:
                told[number] = OfShard("released", each.released_epoch, "aa", 0)
            else:
                told[number] = OfShard("other", self.roster.newest_epoch[number], "", 0)
        return Announcement(
            self.name,
            f"{self.name}{self.lives}",
            self.steward.state(self.cluster.now_s),
            "1",
            "",
            self._time_ms,
            self.steward.offered,
            [number for number, each in enumerate(self.shards) if each.phase == "warm"],
            told,
            self.roster.heard(self.cluster.now_s),
            self.roster.owners(self.cluster.now_s),
        ).encode()

    def step(self) -> None:
        """Carry out one review."""
        now_s = self.cluster.now_s
        connected_s = 0.0 if self.is_cut else now_s - self.connected_s + STEP_S
        orders = self.steward.review([each.own for each in self.shards], connected_s, now_s)
        for number in (*orders.read, *orders.take):
            self._begin(number, number in orders.take)
        for number in (*orders.leave, *orders.release):
            self._leave(number)
        for number, each in enumerate(self.shards):
            self._live(number, each)

    def _begin(self, number: int, may_take: bool) -> None:
        each = self.shards[number]
        if self.cluster.now_s < each.not_before_s:
            return
        each.may_take = each.may_take or may_take
        if each.phase == "none":
            each.phase = "reading"
            each.busy_until_s = self.cluster.now_s + self.cluster.random.uniform(0, self.cluster.longest_read_s)

    def _leave(self, number: int) -> None:
        each = self.shards[number]
        if each.phase == "owned":
            each.phase = "closing"
            each.busy_until_s = self.cluster.now_s + self.cluster.random.uniform(0, self.cluster.longest_close_s)
        elif each.phase != "closing":
            each.forget()

    def _live(self, number: int, each: SimulatedShard) -> None:
        log, now_s = self.cluster.logs[number], self.cluster.now_s
        if each.phase in ("owned", "closing") and not self.is_cut and log.epoch > each.epoch:
            each.forget()  # its next append, or its confirmation, fails
            self.steward.lose(number, now_s)
        if now_s < each.busy_until_s or self.is_cut:
            return
        if each.phase == "closing":
            each.released_epoch = each.epoch
            self.roster.release(number, each.epoch)
            each.forget()
        if each.phase == "reading":
            each.phase, each.reached_epoch = "warm", log.epoch
        if each.phase == "warm":
            each.reached_epoch = max(each.reached_epoch, self.roster.newest_epoch[number])
            if each.may_take:
                self._take(number, each, log)

    def _take(self, number: int, each: SimulatedShard, log: SimulatedLog) -> None:
        if log.epoch > each.reached_epoch:
            each.forget()  # another node was faster
            each.not_before_s = self.cluster.now_s + self.cluster.random.uniform(0.1, 1)
            return
        log.epoch += 1
        log.takeovers.append((self.cluster.now_s, self.name))
        each.phase, each.epoch, each.may_take, each.released_epoch = "owned", log.epoch, False, 0
        self.roster.know_epoch(number, log.epoch)


class Delivery(NamedTuple):
    """An announcement on its way."""

    at_s: float
    sender: str
    data: bytes


class SimulatedCluster:
    """Nodes, their logs, and the messages between them."""

    def __init__(
        self, names: Iterable[str], shards: int, seed: int, *, loss: float = 0.0, longest_read_s: float = 0.5
    ) -> None:
        self.random = random.Random(seed)
        self.count = shards
        self.now_s = 1000.0
        self.loss = loss
        self.longest_read_s = longest_read_s
        self.longest_close_s = 0.3
        self.deaf: set[tuple[str, str]] = set()
        """Pairs of nodes: what the first one announces does not reach the second one."""
        self.logs = [SimulatedLog() for _ in range(shards)]
        self.nodes = {name: SimulatedNode(self, name) for name in names}
        self._steps = 0
        self._on_the_way: list[Delivery] = []

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self._steps += 1
            self._deliver()
            for number, node in enumerate(self.nodes.values()):
                if not node.works:
                    continue
                if (self._steps + number) % _ANNOUNCE_STEPS == 0 and not node.is_cut:
                    self._on_the_way.append(
                        Delivery(self.now_s + self.random.uniform(0, 0.2), node.name, node.announcement())
                    )
                node.step()

    def _deliver(self) -> None:
        arrived = [each for each in self._on_the_way if each.at_s <= self.now_s]
        self._on_the_way = [each for each in self._on_the_way if each.at_s > self.now_s]
        for each in arrived:
            for node in self.nodes.values():
                is_heard = node.works and not node.is_cut and node.name != each.sender
                is_lost = (each.sender, node.name) in self.deaf or self.random.random() < self.loss
                if is_heard and not is_lost:
                    node.hear(each.data)

    def owners(self) -> list[list[str]]:
        """Return the nodes that serve each shard, as far as they know."""
        return [
            [node.name for node in self.nodes.values() if node.works and number in node.owned]
            for number in range(self.count)
        ]

    def wanted(self) -> list[list[str | None]]:
        """Return the node that should own each shard, if all working nodes hear each other."""
        node = next(iter(self.nodes.values()))
        able = [
            each.name for each in self.nodes.values() if each.works and not each.is_cut and not each.steward.is_draining
        ]
        return [[name] for name in wish(self.count, able, node.steward.placement)]

    @property
    def takeovers(self) -> int:
        """Number of all takeovers until now."""
        return sum(len(log.takeovers) for log in self.logs)
