"""Benchmarks of the whole broker over HTTP, with durable answers and one client."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from wonderq.client.sync import Client

BODY = "x" * 100
BATCH = [BODY] * 100


def test_produce_one(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        queue = client.queue()
        benchmark(lambda: queue.send(BODY))


def test_produce_batch(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        queue = client.queue()
        benchmark(lambda: queue.send_together(BATCH))


def test_consume_and_delete_batch(benchmark: BenchmarkFixture, server_url: str) -> None:
    with Client(server_url) as client:
        queue = client.queue()
        for _ in range(320):
            queue.send_together(BATCH)

        def consume_and_delete() -> None:
            messages = queue.receive(100)
            assert len(messages) == 100
            queue.delete(messages)

        benchmark.pedantic(consume_and_delete, rounds=300)
