"""A slice of the faults of `tests.log_faults`, and checks of the check."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.log_faults.crew import client_of
from tests.log_faults.machines import why_no_machines
from tests.support.history.calls import Outcome, Produce
from tests.support.keyed_producer import KeyedProducer
from tests.support.nats_servers import needs_nats
from tests.support.worker import QUEUES
from wonderq.client.errors import Unreachable

pytestmark = needs_nats

_ROOT = Path(__file__).parents[2]

#: On a busy machine each fault takes longer.
_LIMIT_S = 900


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run faults in a process of their own, which leaves the network of this one; return its exit code and output.

    Files that it keeps are in ``folder``.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.log_faults", *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        timeout=_LIMIT_S,
    )
    print(done.stdout)
    return done.returncode, done.stdout


def test_faults_break_no_promise(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--faults", "12", "--slice")
    assert code == 0, output[-3000:]


@pytest.mark.skipif(bool(why_no_machines()), reason=f"power cuts: {why_no_machines()}")
def test_what_servers_lose_that_do_not_sync_is_found(tmp_path: Path) -> None:
    """Otherwise it would prove nothing that those that sync lose nothing."""
    code, output = run(tmp_path, "--faults", "3", "--only", "power cut", "--sync", "2m")
    assert code == 1, output[-3000:]
    assert "are kept in" in output, "it did not fail for another reason"


@pytest.mark.skipif(bool(why_no_machines()), reason=f"power cuts: {why_no_machines()}")
@pytest.mark.parametrize("synced", [False, True])
def test_a_stream_has_a_leader_after_a_power_cut_if_its_newest_file_was_synced_before_a_drop(synced: bool) -> None:
    """If the first half fails, the servers sync by themselves, and `jetstream_log.SETTLE_S` has become needless."""
    command = [sys.executable, "-m", "tests.log_faults.drops", *(["--synced"] if synced else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_ROOT, timeout=_LIMIT_S)
    assert bool(done.stdout.strip()) is synced, done.stdout


class Broker:
    """Stands in for clients of a broker that forgets keys."""

    def __init__(self, *, forgets: bool) -> None:
        self.answers = 0
        self.lost = 0
        self._forgets = forgets
        self._known: dict[str, list[str]] = {}

    def produce_batch(self, bodies: tuple[str, ...], *, idempotency_key: str) -> list[str]:
        self.answers += 1
        if self._forgets or idempotency_key not in self._known:
            self._known[idempotency_key] = [f"{self.answers}-{each}" for each in range(len(bodies))]
        if self.lost:
            self.lost -= 1
            raise Unreachable("the connection is lost", outcome_unknown=True)
        return self._known[idempotency_key]


def keyed(broker: Broker, attempts: int = 100) -> KeyedProducer:
    producer = KeyedProducer("test", random.Random(1), client_of)
    clients: dict[str, Any] = dict.fromkeys(QUEUES, broker)
    for _ in range(attempts):
        producer.send(clients)
    return producer


def test_a_key_that_makes_messages_twice_is_found() -> None:
    assert keyed(Broker(forgets=False)).problems == []
    assert keyed(Broker(forgets=True)).problems != []


def test_attempts_without_an_answer_are_one_produce() -> None:
    broker = Broker(forgets=False)
    broker.lost = 3
    producer = keyed(broker, attempts=2)
    [left] = producer.left()
    assert left.outcome is Outcome.UNKNOWN
    clients: dict[str, Any] = dict.fromkeys(QUEUES, broker)
    assert not producer.send(clients)
    assert producer.send(clients)
    [call] = producer.calls
    assert isinstance(call, Produce)
    assert call.start_s == left.start_s
    assert len(call.ids) == len(call.bodies)
    assert producer.left() == []


def test_the_clients_of_an_owner_that_is_gone_end() -> None:
    failures: list[BaseException] = []
    KeyedProducer("test", random.Random(1), client_of).work("http://127.0.0.1:9", threading.Event(), failures)
    assert failures == []
