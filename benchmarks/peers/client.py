"""The client process of one round: `python -m benchmarks.peers.client MODULE:CLASS ADDRESS MESSAGES BODY_BYTES`.

Produces all messages, then claims and deletes them, over four connections with a thread each. Prints the seconds of
both phases as JSON. Every message is checked: one that is lost, duplicated, altered or left in the queue is a problem.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from benchmarks.peers.peer import BATCH_MESSAGES, CONNECTIONS, Connection, Peer
from benchmarks.peers.registry import load

IDLE_TIMEOUT_S = 30
SETTLE_S = 5
WARM_MESSAGES = BATCH_MESSAGES * CONNECTIONS


class WrongCountError(Exception):
    """The peer did not do all of the timed work."""


def make_bodies(messages: int, body_bytes: int) -> list[str]:
    """Return distinct bodies, so that every message can be checked."""
    return [f"{number:010d}".ljust(body_bytes, "x") for number in range(messages)]


def together(connections: list[Connection], work: Callable[[int, Connection], None]) -> tuple[float, float]:
    """Run ``work`` on each connection in a thread of its own; return the times of the first start and last end."""
    barrier = threading.Barrier(len(connections))
    began, ended, errors = deque[float](), deque[float](), deque[Exception]()

    def run(index: int, connection: Connection) -> None:
        barrier.wait()
        began.append(time.perf_counter())
        try:
            work(index, connection)
        except Exception as error:  # noqa: BLE001 - every library has its own errors; they are raised again below
            errors.append(error)
        ended.append(time.perf_counter())

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return min(began), max(ended)


def produce_all(connections: list[Connection], bodies: list[str]) -> float:
    warm, timed = bodies[:WARM_MESSAGES], bodies[WARM_MESSAGES:]
    for index, connection in enumerate(connections):
        connection.produce(warm[index::CONNECTIONS])
    batches = deque(timed[start : start + BATCH_MESSAGES] for start in range(0, len(timed), BATCH_MESSAGES))

    def produce(_: int, connection: Connection) -> None:
        while True:
            try:
                batch = batches.popleft()
            except IndexError:
                return
            connection.produce(batch)

    began, ended = together(connections, produce)
    return ended - began


class Consumption:
    """Claims and deletes messages until all that were produced have been received."""

    def __init__(self, connections: list[Connection], messages: int) -> None:
        self.connections = connections
        self.messages = messages
        self.received: list[list[str | bytes]] = [[] for _ in connections]
        self.last_deleted = [0.0] * len(connections)

    def run(self) -> float:
        """Return the seconds from the start to the last acknowledged delete, without the warm-up."""
        for index, connection in enumerate(self.connections):
            self._consume(index, connection, self._has_warmed_up)
        began, _ = together(
            self.connections, lambda index, connection: self._consume(index, connection, self._have_all)
        )
        return max(self.last_deleted) - began

    def _has_warmed_up(self, index: int) -> bool:
        return len(self.received[index]) >= BATCH_MESSAGES

    def _have_all(self, _index: int) -> bool:
        return sum(map(len, self.received)) >= self.messages

    def _consume(self, index: int, connection: Connection, enough: Callable[[int], bool]) -> None:
        idle_since = time.perf_counter()
        while not enough(index):
            claimed = connection.consume(BATCH_MESSAGES)
            if claimed.handles:
                self.received[index].extend(claimed.bodies)
                connection.delete(claimed.handles)
                idle_since = self.last_deleted[index] = time.perf_counter()
            elif time.perf_counter() - idle_since > IDLE_TIMEOUT_S:
                raise WrongCountError(f"only {sum(map(len, self.received)):,} of {self.messages:,} messages came")
            else:
                time.sleep(0.001)


def check_left(connection: Connection, expected: int) -> None:
    """Check the number of messages in the queue, with retries: some servers update their count with a delay."""
    end = time.monotonic() + SETTLE_S
    while (left := connection.left()) != expected:
        if time.monotonic() > end:
            raise WrongCountError(f"the queue holds {left:,} messages, and should hold {expected:,}")
        time.sleep(0.05)


def check_received(received: list[str | bytes], bodies: list[str]) -> None:
    texts = [body if isinstance(body, str) else bytes(body).decode() for body in received]
    distinct = set(texts)
    if len(distinct) != len(texts):
        raise WrongCountError(f"{len(texts) - len(distinct):,} messages came twice")
    if distinct != set(bodies):
        raise WrongCountError(f"{len(set(bodies) - distinct):,} messages did not come as they were produced")


def run(peer: Peer, address: str, messages: int, body_bytes: int) -> dict[str, float]:
    bodies = make_bodies(messages + WARM_MESSAGES, body_bytes)

    connections = [peer.connect(address) for _ in range(CONNECTIONS)]
    gc.collect()
    produce_s = produce_all(connections, bodies)
    check_left(connections[0], len(bodies))
    for connection in connections:
        connection.close()

    connections = [peer.connect(address) for _ in range(CONNECTIONS)]
    gc.collect()
    consumption = Consumption(connections, len(bodies))
    consume_s = consumption.run()
    for connection in connections:
        connection.close()

    check_received([body for each in consumption.received for body in each], bodies)
    connection = peer.connect(address)
    check_left(connection, 0)
    connection.close()
    return {"produce_s": produce_s, "consume_s": consume_s}


def main() -> None:
    spec, address, messages, body_bytes = sys.argv[1:]
    try:
        result: dict[str, float | str] = {**run(load(spec), address, int(messages), int(body_bytes))}
    except Exception as error:  # noqa: BLE001 - reported in the row of this peer
        result = {"problem": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
