"""Benchmarks of single components, without HTTP. A batch has 100 messages of 100 bytes."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.polls import Sources
from wonderq.model.ids import Ids
from wonderq.model.messages import RequestNumber, Target
from wonderq.rest.arrays import JSON_FORMAT
from wonderq.rest.deliveries import delivered
from wonderq.state import record
from wonderq_storage import FileLog, SyncPolicy, frame

BODY = "x" * 100
BATCH = [BODY] * 100


def test_encode_entries_of_a_batch(benchmark: BenchmarkFixture) -> None:
    benchmark(lambda: [record.encode_entry(body) for body in BATCH])


def test_pack_group_of_64_records(benchmark: BenchmarkFixture) -> None:
    records = [record.encode((record.PRODUCE, 1_790_000_000_000, 1, 0, [], [106], b"x" * 106))] * 64
    benchmark(lambda: frame.pack_group(1, records, offset=64, base=1, number=1, durable=0, chain=0))


def test_append_and_wait_without_sync(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    log = FileLog(tmp_path, sync=SyncPolicy("os"))
    log.start()
    benchmark(lambda: log.wait(log.append(b"x" * 150)))
    log.close()


def test_append_and_wait_with_sync(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    log.start()
    benchmark(lambda: log.wait(log.append(b"x" * 150)))
    log.close()


def test_make_100_ids(benchmark: BenchmarkFixture) -> None:
    ids = Ids(b"0123456789abcdef")
    benchmark(lambda: ids.message_ids(1, range(100)))


def test_produce_one(benchmark: BenchmarkFixture, broker: Broker) -> None:
    benchmark(lambda: broker.produce("default", [BODY]))


def test_produce_one_in_a_numbered_request(benchmark: BenchmarkFixture, broker: Broker) -> None:
    numbers = count(1)
    benchmark(lambda: broker.send("default", [BODY], RequestNumber("0123456789abcdef", next(numbers))).ids)


def test_produce_batch(benchmark: BenchmarkFixture, broker: Broker) -> None:
    benchmark(lambda: broker.produce("default", BATCH))


def test_produce_batch_in_a_numbered_request(benchmark: BenchmarkFixture, broker: Broker) -> None:
    numbers = count(1)
    benchmark(lambda: broker.send("default", BATCH, RequestNumber("0123456789abcdef", next(numbers))).ids)


def test_claim_and_delete_batch(benchmark: BenchmarkFixture, broker: Broker) -> None:
    for _ in range(400):
        broker.produce("default", BATCH)

    def claim_and_delete() -> None:
        claimed = broker.claim("default", limit=100)
        assert len(claimed) == 100
        broker.delete_batch("default", Target.each((None, message.receipt) for message in claimed))

    benchmark.pedantic(claim_and_delete, rounds=300)


def test_render_100_messages_as_json(benchmark: BenchmarkFixture, broker: Broker) -> None:
    broker.produce("default", BATCH)
    batches = broker.deliver(Sources(("default",)), ClaimOptions(limit=100))
    benchmark(lambda: b"".join(delivered(batches, JSON_FORMAT)))
