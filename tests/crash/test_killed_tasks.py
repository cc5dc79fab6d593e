"""Kills in the middle of background tasks: a redrive, and a schedule."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually

MESSAGES = 5000
KILLS = 6

#: Small ones, so that the log turns over meanwhile.
SEGMENT_BYTES = 32 << 20


def open_client(broker: RunningBroker, queue: str) -> QueueClient:
    return QueueClient(broker.url, queue=queue)


@pytest.mark.parametrize("destination", [None, "elsewhere"])
def test_a_redrive_that_is_killed_moves_each_message_once(tmp_path: Path, destination: str | None) -> None:
    folder, chance = tmp_path / "data", random.Random(7)
    options = ("--segment-bytes", str(SEGMENT_BYTES))
    home = destination or "work"
    with RunningBroker(folder, *options) as broker:
        with open_client(broker, "elsewhere") as client:
            client.put_queue()
        with open_client(broker, "work") as client:
            client.put_queue(max_receives=1, dead_letter_queue="dead")
            for first in range(0, MESSAGES, 1000):
                client.produce_batch([str(n) for n in range(first, first + 1000)])
            for _ in range(MESSAGES // 1000):
                client.consume(limit=1000, visibility_timeout=0)
            while client.consume(limit=1000, visibility_timeout=0):
                pass
        with open_client(broker, "dead") as client:
            eventually(lambda: client.count("unprocessed") == MESSAGES, "all dead letters to arrive")
            fields = {} if destination is None else {"destination": destination}
            redrive_id = client.redrive(per_second=4000, **fields)["id"]
        time.sleep(chance.uniform(0.05, 0.2))
        broker.kill()
    moved, seen = 0, set()
    for kill in range(KILLS):
        with RunningBroker(folder, *options) as broker:
            with open_client(broker, "dead") as client:
                found = client.get_redrive(redrive_id)
                assert found["moved"] >= moved, "what was moved stays moved"
                moved = found["moved"]
                seen.add(moved)
                if kill < KILLS - 1:
                    time.sleep(chance.uniform(0.05, 0.3))
                    broker.kill()
                    continue
                end = time.monotonic() + PATIENCE_S
                while found["status"] == "running":
                    assert time.monotonic() < end
                    time.sleep(0.05)
                    found = client.get_redrive(redrive_id)
                assert (found["status"], found["moved"], found["skipped"]) == ("completed", MESSAGES, 0)
                assert list(client.messages()) == []
            with open_client(broker, home) as client:
                there = Counter(message["message"] for message in client.messages())
            assert there == Counter(map(str, range(MESSAGES)))
            assert any(0 < each < MESSAGES for each in seen), "it was not killed in the middle"
            assert broker.terminate() == 0


def test_a_schedule_fires_once_for_each_second_around_kills(tmp_path: Path) -> None:
    folder, chance = tmp_path / "data", random.Random(8)
    with RunningBroker(folder) as broker, open_client(broker, "ticks") as client:
        begun = client.put_schedule("tick", cron="* * * * * *", queue="ticks", message="tick", missed="all")
        time.sleep(1.2)
        broker.kill()
    for _ in range(KILLS):
        with RunningBroker(folder) as broker:
            time.sleep(chance.uniform(0, 1.2))
            broker.kill()
        time.sleep(chance.uniform(0, 0.5))
    with RunningBroker(folder) as broker, open_client(broker, "ticks") as client:
        time.sleep(1.5)
        client.put_schedule("tick", paused=True)
        last = client.get_schedule("tick")["last_at"]
        times = [message["attributes"]["scheduled_at"] for message in client.messages()]
        assert broker.terminate() == 0
    seconds = [time.mktime(time.strptime(each, "%Y-%m-%dT%H:%M:%S.000Z")) for each in (begun["next_at"], last)]
    expected = int(seconds[1] - seconds[0]) + 1
    assert expected >= KILLS
    assert times == sorted(times)
    assert len(times) == len(set(times)) == expected
    assert (times[0], times[-1]) == (begun["next_at"], last)
