"""Benchmarks of the whole broker over HTTP, with durable answers and one client."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from wonderq.client.simple import Client

BODY = "x" * 100
BATCH = [BODY] * 100


def test_produce_one(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        benchmark(lambda: client.produce(BODY))


def test_produce_batch(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        benchmark(lambda: client.produce_batch(BATCH))


def test_consume_and_delete_batch(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        for _ in range(320):
            client.produce_batch(BATCH)

        def consume_and_delete() -> None:
            messages = client.consume(limit=100)
            assert len(messages) == 100
            client.delete_batch(receipts=[message["receipt"] for message in messages])

        benchmark.pedantic(consume_and_delete, rounds=300)
