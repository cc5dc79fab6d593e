"""The other processes that share a log, as a test plays them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry, generate_latest

from wonderq.ownership.announcements import Announcement, Role, decode
from wonderq.ownership.metrics import NodeCollector
from wonderq.ownership.node import Node

LOG_ID = b"the log"


class Seen(NamedTuple):
    replicas: int = 3
    replicas_current: int = 3
    clock_ahead_ms: int = 0


class ScriptedPeers:
    """The other processes, as a test plays them."""

    def __init__(self) -> None:
        self.connected_s = 100.0
        self.seen: Seen | None = Seen()
        self.announced: list[Announcement] = []
        self.callback: Callable[[bytes], None] = lambda _: None

    def listen(self, callback: Callable[[bytes], None]) -> None:
        self.callback = callback

    def announce(self, data: bytes) -> None:
        found = decode(data)
        assert found is not None
        self.announced.append(found)

    def look(self) -> Seen | None:
        return self.seen

    def say(self, role: Role, epoch: int, token: str = "x") -> None:
        time_ms = self.announced[-1].time_ms if self.announced else 0
        self.callback(Announcement("other:1", token, role, epoch, LOG_ID.hex(), 0, time_ms).encode())


def metrics_of_a_node() -> str:
    """Return the metrics of a process that shares a log, with a sample of each."""
    peers = ScriptedPeers()
    node = Node("me:1", peers, lambda _: cast("Any", nullcontext()))
    node.seen, node.takeover_s = peers.seen, 0.5
    node.log = cast("Any", StillLog())
    node.member.claimed(3)
    registry = CollectorRegistry()
    registry.register(NodeCollector(node))
    return generate_latest(registry).decode()


class StillLog:
    """A log that nobody writes."""

    failure = None
    log_id = LOG_ID
    epoch = 3
    acknowledged_sequence = 17
    waiting_s = 0.0
    append_retries = 1
