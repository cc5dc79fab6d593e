"""The shards of a cluster, as the parts of a node see them that answer requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from wonderq.broker.broker import Broker


class Process(NamedTuple):
    """A process of a node. Two may have one name, by mistake or while one follows the other."""

    node: str
    token: str
    """Random text that it announces."""


class Shards(Protocol):
    """The shards, numbered from 0.

    Threads: any number may call any method. No method waits.
    """

    count: int
    """Number of shards, fixed for the life of the cluster."""

    node: str
    """Name of this node."""

    token: str
    """Random text that this process announces."""

    def local(self, shard: int) -> Broker | None:
        """Return the broker of a shard that this node owns now, or None.

        The broker may lose its shard at any moment. Its calls then raise `wonderq_storage.LogLostError`.
        """

    def owner(self, shard: int) -> str | None:
        """Return the name of the node that was last heard to own a shard; None if no node is heard to own it."""

    def process(self, shard: int) -> Process | None:
        """Return the process that was last heard to own a shard, as `owner` does."""

    def hears(self, process: Process) -> bool:
        """Return whether a process of another node was heard lately."""

    def time_ms(self, node: str) -> int:
        """Return the wall clock of another node, in ms since 1970. It may differ much from the own one."""

    def url_of(self, node: str) -> str:
        """Return the address at which clients reach another node, as it announced it; empty if it is not heard."""

    def changed(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Have ``callback(shard)`` called after the broker or the owner of a shard has changed.

        It is called on a background thread, and must neither wait nor raise. It may be called without a change. Returns
        a function that ends the calls.
        """
