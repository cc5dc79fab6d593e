"""The counts of proof runs: those of a broker's metrics and of its counters are the same, and what never ran is named."""

from __future__ import annotations

from collections import Counter

from tests.support import mechanisms
from tests.support.clock import FakeClock
from tests.support.http_client import Client
from tests.support.mechanisms import Mechanisms, counted, of_metrics
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.messages import Change, Target


def test_metrics_and_counters_have_the_same_counts() -> None:
    clock = FakeClock()
    broker = Broker(MemoryLog(), clock=clock)
    client = Client(broker)
    broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    broker.produce("q", ["dead letter", "deleted", "updated"])
    claimed = broker.claim("q", visibility_timeout_ms=1000)
    broker.delete("q", Target(receipt=claimed[1].receipt))
    broker.update("q", Target(receipt=claimed[2].receipt), Change(body="new"))
    clock.ms += 1000
    while broker.remove_dead_letters():
        pass
    broker.put_queue("dead", retention_ms=1000)
    clock.ms += 1000
    broker.upkeep()
    broker.produce("q", ["purged"])
    broker.purge("q")
    broker.counters.checkpoints, broker.counters.dropped_segments, broker.counters.schedules_fired = 3, 4, 5

    counts = counted(broker)

    assert of_metrics(client("GET", "/metrics").text) == counts
    assert counts == {
        mechanisms.CHECKPOINTS: 3,
        mechanisms.COMPACTIONS: 4,
        mechanisms.FIRED: 5,
        mechanisms.CLAIMS_EXPIRED: 2,
        mechanisms.RETENTION: 2,
        mechanisms.MOVES: 2,
        mechanisms.DEAD_LETTERS: 2,
        mechanisms.UPDATES: 1,
        mechanisms.DELETES: 1,
        mechanisms.PURGES: counts[mechanisms.PURGES],
    }
    assert counts[mechanisms.PURGES] >= 1


def test_a_new_broker_has_counted_nothing() -> None:
    broker = Broker(MemoryLog(), clock=FakeClock())
    assert not any(counted(broker).values())
    text = Client(broker)("GET", "/metrics").text
    assert not any(of_metrics(text).values())
    assert "wonderq_schedules_missed_total 0.0\n" in text


def test_what_never_ran_is_named_and_fails_a_whole_run() -> None:
    run = Mechanisms(["kills", "rotations"])
    run.counts.update({"kills": 2, "extra": 1, "nothing": 0})

    assert run.idle() == ["rotations"]
    report, passes = run.verdict()
    assert report == "mechanisms: kills 2, rotations 0, extra 1\nNEVER RAN: rotations"
    assert not passes
    assert run.verdict(is_slice=True)[1]
    run.counts += Counter(rotations=1)
    assert run.verdict() == ("mechanisms: kills 2, rotations 1, extra 1", True)
