"""A slice of the faults of `tests.cluster_faults`, and checks of what the run is made of."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.cluster_faults.crew import KEPT, LOADS, PROBED, QUEUES, SHARDS, Crew
from tests.cluster_faults.faults import FAULTS
from tests.support.history.calls import Consume, Delivery, History, Produce
from tests.support.history.journal import about, ids_in
from tests.support.nats_servers import needs_nats
from wonderq.cluster.shard_map import shard_of

_ROOT = Path(__file__).parents[2]

#: On a busy machine each fault takes longer.
_LIMIT_S = 900


@needs_nats
def test_faults_break_no_promise(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster_faults", "--faults", "2", "--slice"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=_LIMIT_S,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "seed " in done.stdout
    assert sum(done.stdout.count(f"\n  {fault}: ") for fault in FAULTS) >= 1, "the availability is printed"


def test_each_shard_has_a_producer_with_keys() -> None:
    assert sorted(shard_of(each, SHARDS) for each in PROBED) == list(range(SHARDS))
    assert set(PROBED) <= set(QUEUES)


def test_some_messages_cross_and_others_do_not() -> None:
    plain, *families = LOADS
    assert not plain.together
    topic = shard_of(plain.topic, SHARDS)
    assert topic not in {shard_of(each, SHARDS) for each in plain.queues}
    crossing = [shard_of(each, SHARDS) != shard_of(plain.letters, SHARDS) for each in plain.queues]
    assert set(crossing) == {True, False}, "dead letters cross, and do not"
    for names in families:
        assert len({shard_of(each, SHARDS) for each in (*names.all, names.topic)}) == 1


def test_the_longest_produce_is_that_of_the_fault() -> None:
    crew = Crew("test", random.Random(1))
    crew.keyed[0].calls = [
        Produce(queue=KEPT, start_s=start_s, end_s=end_s, bodies=("x",), ids=("x",))
        for start_s, end_s in ((0, 9), (10, 10.1), (10.2, 13.2), (13.3, 13.4), (20, 29))
    ]
    assert round(crew.longest_s(9.5, 14), 3) == 3.0
    assert crew.longest_s(15, 16) == 0
    assert round(crew.longest_s(11, 14), 3) == 2.2, "what was sent before counts from the fault on"


def test_a_journal_has_the_calls_of_a_message() -> None:
    delivery = Delivery("m-2", "body", "receipt", 1, 0)
    calls = [
        Consume(queue="q", start_s=12, end_s=12.5, limit=1, visibility_timeout_s=1, deliveries=(delivery,)),
        Produce(queue="q", start_s=10, end_s=11, bodies=("a", "b"), ids=("m-1", "m-2")),
        Consume(queue="q", start_s=14, end_s=15, limit=1, visibility_timeout_s=1),
    ]
    history = History([*calls])
    assert ids_in("the message m-2, which is not m-3.", history) == ["m-2"]
    first, second = about("m-2", history)
    assert "0.000 to     1.000 OK produced into q" in first
    assert "2.000 to     2.500 OK claimed from q" in second
