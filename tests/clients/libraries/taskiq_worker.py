"""taskiq with taskiq-aio-sqs."""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq import SimpleRetryMiddleware
from taskiq.acks import AcknowledgeType
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker
from taskiq_aio_sqs import SQSBroker

from tests.clients.libraries.task import QUEUE, do

broker = SQSBroker(
    QUEUE,
    endpoint_url=os.environ["AWS_ENDPOINT_URL_SQS"],
    region_name="us-east-1",
    aws_access_key_id="any",
    aws_secret_access_key="any",
    wait_time_seconds=1,
)


broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=3))


@broker.task(task_name="run", retry_on_error=True)
async def run(word: str) -> None:
    await asyncio.to_thread(do, word)


async def send(word: str, delay_s: int = 0) -> None:
    await broker.startup()
    await run.kicker().with_labels(delay=delay_s).kiq(word)
    await broker.shutdown()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        run_worker(
            WorkerArgs(
                broker="tests.clients.libraries.taskiq_worker:broker",
                modules=[],
                workers=1,
                ack_type=AcknowledgeType.WHEN_EXECUTED,
            )
        )
    else:
        asyncio.run(send(sys.argv[2], *map(int, sys.argv[3:])))
