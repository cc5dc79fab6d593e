"""Guarantees for clients when the broker is killed: some random kills, and each guarantee by itself."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.history.calls import History, Outcome
from tests.support.history.checker import check
from tests.support.history.recording import RecordingClient, Target, request, to_ms
from tests.support.kill_cycles import Options, Run
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.client.errors import Refused, Unreachable
from wonderq_storage import FileLog
from wonderq_storage.errors import FolderLockedError


def restarted(broker: RunningBroker) -> RunningBroker:
    """Kill a broker and start the next one on its folder."""
    broker.kill()
    return RunningBroker(broker.data)


@pytest.mark.parametrize(
    ("fsync", "segment_bytes", "cycles"), [("always", 32 << 20, 3), ("always", 1 << 16, 3), ("os", 1 << 16, 2)]
)
def test_random_kills_break_no_promise(fsync: str, segment_bytes: int, cycles: int, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")

    report = Run(Options(cycles=cycles, seed=seed, fsync=fsync, segment_bytes=segment_bytes), tmp_path).run()

    print(report)
    assert report.violations == [], "\n".join(map(str, report.violations[:5]))
    assert report.figures["drained messages"] > 0
    assert report.figures["acked claims"] > 0


def test_a_claim_survives_a_kill_until_its_deadline_and_no_longer(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        message_id = client.produce("work")
        [claimed] = client.consume(visibility_timeout=15)
        with restarted(broker) as broker, QueueClient(broker.url) as client:
            [listed] = client.messages()
            assert (listed["status"], listed["claimed_until"]) == ("processing", claimed["claimed_until"])

            [again] = eventually(lambda: client.consume(wait=20))

            assert again["id"] == message_id
            assert again["receive_count"] == 2
            # The deadline, by the broker's own clock: a claim without a timeout lasts 30 s from when it was made.
            assert to_ms(again["claimed_until"]) - 30_000 >= to_ms(claimed["claimed_until"])
            assert to_ms(again["claimed_until"]) - 30_000 <= to_ms(claimed["claimed_until"]) + PATIENCE_S * 1000


def test_receipts_from_before_a_kill_delete_renew_and_release(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        client.produce_batch(["delete", "renew", "release", "rewrite"])
        held = {each["message"]: each for each in client.consume(visibility_timeout=600)}
        with restarted(broker) as broker, QueueClient(broker.url) as client:
            client.delete(held["delete"]["receipt"])
            client.update(held["renew"]["id"], receipt=held["renew"]["receipt"])
            client.update(held["release"]["id"], receipt=held["release"]["receipt"], visibility_timeout=0)
            client.update(held["rewrite"]["id"], receipt=held["rewrite"]["receipt"], message="rewritten")

            left = {each["message"]: each for each in client.messages()}

            assert {body: each["status"] for body, each in left.items()} == {
                "renew": "processing",
                "release": "unprocessed",
                "rewritten": "processing",
            }
            # Renewed by the timeout that it was claimed with, which is of before the kill.
            assert to_ms(left["renew"]["claimed_until"]) > to_ms(held["renew"]["claimed_until"])
            assert left["rewritten"]["claimed_until"] == held["rewrite"]["claimed_until"]
            with pytest.raises(Refused) as refused:
                client.delete(held["release"]["receipt"])
            assert refused.value.code == "stale_receipt"


def test_a_stale_receipt_from_before_a_kill_changes_nothing(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        client.produce("work")
        [stale] = client.consume(visibility_timeout=0.1)
        [current] = client.consume(visibility_timeout=600, wait=20)
        with restarted(broker) as broker, QueueClient(broker.url) as client:
            before = list(client.messages())
            attempts: list[Callable[[], None]] = [
                lambda: client.delete(stale["receipt"]),
                lambda: client.update(stale["id"], receipt=stale["receipt"]),
                lambda: client.update(stale["id"], receipt=stale["receipt"], visibility_timeout=0),
                lambda: client.update(stale["id"], receipt=stale["receipt"], message="other"),
            ]
            for attempt in attempts:
                with pytest.raises(Refused) as refused:
                    attempt()
                assert (refused.value.status, refused.value.code) == (409, "stale_receipt")
            assert list(client.messages()) == before
            client.delete(current["receipt"])
            assert list(client.messages()) == []


def test_deleted_stays_deleted(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        kept, by_id, *_ = client.produce_batch(["kept", "by id", "by receipt", "in a batch", "in a batch too"])
        held = {each["message"]: each["receipt"] for each in client.consume(visibility_timeout=600)}
        client.delete_batch(ids=[by_id])
        client.delete(held["by receipt"])
        client.delete_batch(receipts=[held["in a batch"], held["in a batch too"]])
        for _ in range(2):
            broker = restarted(broker)
            with QueueClient(broker.url) as again:
                assert [each["id"] for each in again.messages()] == [kept]
                with pytest.raises(Refused) as refused:
                    again.delete(held["by receipt"])
                assert refused.value.code == "message_not_found"
        broker.kill()


def test_a_purge_and_a_dropped_queue_stay(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker:
        with QueueClient(broker.url, queue="purged") as purged, QueueClient(broker.url, queue="dropped") as dropped:
            purged.produce_batch(["a", "b"])
            purged.purge()
            younger = purged.produce("c")
            dropped.produce("gone")
            request(dropped, "DELETE", "")
        with restarted(broker) as broker, QueueClient(broker.url, queue="purged") as purged:
            assert [each["id"] for each in purged.messages()] == [younger]
            assert sorted(each["queue"] for each in purged.queues()) == ["default", "purged"]


def test_a_delayed_message_stays_hidden_until_its_time(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        client.produce("soon", delay=15)
        client.produce("much later", delay=900)
        due = {each["message"]: each["delayed_until"] for each in client.messages()}
        with restarted(broker) as broker, QueueClient(broker.url) as client:
            assert {each["message"]: each.get("delayed_until") for each in client.messages()} == due

            [soon] = eventually(lambda: client.consume(wait=20))

            assert soon["message"] == "soon"
            assert to_ms(soon["claimed_until"]) - 30_000 >= to_ms(due["soon"])
            assert client.consume() == []


def test_settings_counts_and_order_survive(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url, queue="work") as client:
        request(client, "PUT", "", {"visibility_timeout": 77, "delay": 0})
        client.produce_batch([f"{n}" for n in range(5)])
        for expected in (1, 2, 3):
            first = client.consume(limit=2)
            assert [each["receive_count"] for each in first] == [expected, expected]
            for each in first:
                client.update(each["id"], receipt=each["receipt"], visibility_timeout=0)
        client.consume(limit=1, visibility_timeout=600)
        before, info = list(client.messages()), client.queue_info()
        with restarted(broker) as broker, QueueClient(broker.url, queue="work") as client:
            assert list(client.messages()) == before
            after = client.queue_info()
            assert after["settings"] == info["settings"]
            assert {**after, "oldest_age": 0} == {**info, "oldest_age": 0}
            second, third = client.consume(limit=2)
            assert (second["message"], second["receive_count"]) == ("1", 4)
            assert (third["message"], third["receive_count"]) == ("2", 1)
            assert to_ms(second["claimed_until"]) - 77_000 <= time.time() * 1000


def test_a_kill_during_a_long_poll_claims_nothing(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker:
        outcomes: list[BaseException | list[dict[str, Any]]] = []

        def poll() -> None:
            with QueueClient(broker.url) as client:
                try:
                    outcomes.append(client.consume(wait=20))
                except Unreachable as error:
                    outcomes.append(error)

        waiting = [threading.Thread(target=poll) for _ in range(3)]
        for thread in waiting:
            thread.start()
        time.sleep(0.5)
        with restarted(broker) as again, QueueClient(again.url) as client:
            for thread in waiting:
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
            assert [type(each) for each in outcomes] == [Unreachable] * 3
            client.produce("work")
            [message] = client.consume()
            assert message["receive_count"] == 1


def test_the_lock_of_a_killed_broker_is_gone_and_that_of_a_running_one_holds(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker:
        with pytest.raises(FolderLockedError):
            FileLog(broker.data)
        broker.kill()
        FileLog(broker.data).close()
        with RunningBroker(broker.data) as again, QueueClient(again.url) as client:
            assert client.ready()


def test_a_stop_under_load_loses_nothing_and_leaves_no_torn_tail(tmp_path: Path) -> None:
    history = History()
    with RunningBroker(tmp_path / "data") as broker:
        clients = [RecordingClient(broker.url, "default") for _ in range(6)]

        def produce(client: RecordingClient, name: str) -> None:
            made = 0
            while not client.lost:
                client.produce([f"{name}-{made}-{n} {'x' * 5000}" for n in range(5)])
                made += 1

        def consume(client: RecordingClient) -> None:
            while not client.lost:
                call = client.consume(limit=5, visibility_timeout_s=600, wait_s=1)
                if call.outcome is Outcome.REFUSED:
                    return
                for each in call.deliveries[:3]:
                    client.delete(Target(each.id, each.receipt))

        threads = [threading.Thread(target=produce, args=(client, f"p{n}")) for n, client in enumerate(clients[:3])]
        threads += [threading.Thread(target=consume, args=(client,)) for client in clients[3:]]
        for thread in threads:
            thread.start()
        idle = RecordingClient(broker.url, "idle")
        request(idle.client, "PUT", "")
        threads.append(threading.Thread(target=lambda: idle.consume(limit=1, visibility_timeout_s=1, wait_s=20)))
        threads[-1].start()
        eventually(lambda: all(len(client.calls) > 10 for client in clients))
        history.outages.append((time.monotonic(), float("inf")))

        assert broker.terminate() == 0

        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        for client in [*clients, idle]:
            history.extend(client.calls)
            client.close()
        assert [call.outcome for call in idle.calls] == [Outcome.OK], "who waited was not answered"

    with RunningBroker(broker.data) as again:
        reader = RecordingClient(again.url, "default")
        reader.list_all()
        history.extend(reader.calls)
        reader.close()
        assert again.terminate() == 0
        assert "torn tail" not in again.log()
    assert not (broker.data / "torn").exists()
    log = FileLog(broker.data)
    Broker(log).close()
    assert log.torn_bytes == 0
    assert check(history) == []


def test_a_stop_by_signal_leaves_a_log_that_ends_in_a_closing_group(tmp_path: Path) -> None:
    """Damage to the last acknowledged records is distinguished from a torn write, and refuses the start."""
    with RunningBroker(tmp_path / "data") as broker, QueueClient(broker.url) as client:
        client.produce("the last acknowledged message")
        broker.process.send_signal(signal.SIGINT)
        assert broker.process.wait(PATIENCE_S) == 0
    [segment] = broker.data.glob("*.wal")
    data = bytearray(segment.read_bytes())
    at = data.index(b"the last acknowledged message")
    data[at] ^= 1
    segment.write_bytes(data)

    with pytest.raises(AssertionError, match="the log is damaged"), RunningBroker(broker.data):
        pass
