"""Two shards of a cluster in this process, with calls between them that a test loses, and owners that it replaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.cluster import shard_calls, wire
from wonderq.cluster.applications import Outcome, Response
from wonderq.cluster.crosser import Crosser
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.wire import ForwardedRequest
from wonderq.model.errors import ShardUnavailableError
from wonderq.model.messages import Message
from wonderq_storage import LogLostError

SHARDS = 2


def name_in(shard: int, stem: str, suffix: str = "") -> str:
    """Return the name of a queue that has its place in a shard."""
    return next(name for at in count() if shard_of(name := f"{stem}{at}{suffix}", SHARDS) == shard)


class OtherShard:
    """The view that one shard has of the other."""

    def __init__(self, shards: TwoShards, shard: int) -> None:
        self._shards = shards
        self._shard = shard

    def _broker(self, queue: str) -> Broker:
        if self._shards.is_silent:
            raise ShardUnavailableError(queue, "It does not answer.")
        return self._shards.brokers[1 - self._shard]

    def attributes_of(self, queue: str) -> Mapping[str, str] | None:
        return self._broker(queue).sqs_attributes(queue)

    def sources_of(self, queue: str, after: str) -> Iterator[str]:
        return iter(self._broker(queue).sources_of(queue, after=after, everywhere=False))


class TwoShards:
    """The shards 0 and 1, and the crossers that send messages from each to the other."""

    def __init__(self, **options: Any) -> None:
        """``options`` are those of the brokers."""
        self.clock = FakeClock()
        self.logs = [MemoryLog(shared=True), MemoryLog(shared=True)]
        self.brokers: list[Broker] = []
        self.crossers: list[Crosser] = []
        self.faults: list[str | Callable[[], None]] = []
        """Faults of the next calls, one each: ``request lost``, ``reply lost``, ``no owner``, ``none``, or
        something to do after the call was carried out, whose reply is lost then."""
        self.calls: list[ForwardedRequest] = []
        self.is_silent = False
        """Whether the shards answer no questions of each other."""
        self._options = options
        for shard in range(SHARDS):
            self._open(shard)

    def _open(self, shard: int) -> None:
        broker = Broker(
            self.logs[shard],
            clock=FakeClock(self.clock.ms),
            default_queue=False,
            has_name=lambda name: shard_of(name, SHARDS) == shard,
            **self._options,
        )
        broker.reach(OtherShard(self, shard))
        crosser = Crosser(broker, self.call, SHARDS)
        self.brokers[shard:] = [broker, *self.brokers[shard + 1 :]]
        self.crossers[shard:] = [crosser, *self.crossers[shard + 1 :]]

    def advance(self, seconds: float) -> None:
        """Let time pass in both shards."""
        self.clock.advance(seconds)
        for each in self.brokers:
            each.core.clock.raise_floor(self.clock.ms)

    def take_over(self, shard: int, log: MemoryLog | None = None) -> None:
        """Let another owner have a shard, with what was durable, or with another log. The former owner notices late."""
        self.logs[shard] = self.logs[shard].opened_again() if log is None else log
        self._open(shard)

    def call(self, shard: int, request: ForwardedRequest) -> Outcome:
        """Carry a call out, or lose it. This is what `Crosser` calls."""
        request.shard = shard
        self.calls.append(request)
        fault = self.faults.pop(0) if self.faults else "none"
        if fault == "no owner":
            return Outcome("not_done", reason="No node is heard to own it.")
        if fault == "request lost":
            return Outcome("unknown", reason="The connection to NATS is lost.")
        sent = wire.decode_request(wire.encode(request))
        try:
            status, body = shard_calls.answer(self.brokers[shard], sent)
        except LogLostError as error:
            return Outcome("unknown", reason=str(error))
        if callable(fault):
            fault()
        if callable(fault) or fault == "reply lost":
            return Outcome("unknown", reason="The node did not answer in time.")
        return Outcome("done", Response(status, [], [body]))

    def turn(self) -> None:
        """Let both shards send what they may send now."""
        for each in self.crossers:
            each.turn()

    def waiting(self) -> dict[str, int]:
        """Return the number of messages that wait in each outbox that has any."""
        found = [each for broker in self.brokers for each in broker.outboxes.waiting()]
        return {each.queue: each.messages for each in found if each.messages}

    def cross(self) -> None:
        """Let all messages cross."""

        def are_across() -> bool:
            self.turn()
            return not self.waiting()

        eventually(are_across, "all messages to cross")

    def broker(self, queue: str) -> Broker:
        """Return the broker that has a queue."""
        return self.brokers[shard_of(queue, SHARDS)]

    def messages(self, queue: str) -> list[Message]:
        return list(self.broker(queue).messages(queue))

    def bodies(self, queue: str) -> list[str]:
        return [each.body for each in self.messages(queue)]

    def kill(self, queue: str, *bodies: str) -> None:
        """Let messages of a queue with `max_receives` 1 become dead letters."""
        broker = self.broker(queue)
        broker.produce(queue, bodies)
        claimed = broker.claim(queue, limit=len(bodies), visibility_timeout_ms=1000)
        assert sorted(each.body for each in claimed) == sorted(bodies)
        self.advance(2)
        remove_dead_letters(broker)

    def close(self) -> None:
        for each in self.crossers:
            each.stop()
        for broker in self.brokers:
            broker.close()


def remove_dead_letters(*brokers: Broker) -> None:
    for each in brokers:
        while each.remove_dead_letters():
            pass


def published(results: Iterable[Any]) -> list[int]:
    """Return the number of queues of each result."""
    return [each.queues for each in results]
