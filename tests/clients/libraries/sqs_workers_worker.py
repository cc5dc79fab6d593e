"""sqs-workers. An outage longer than the retries of boto3 ends the worker, so a supervisor must start it again."""

from __future__ import annotations

import sys

from sqs_workers import SQSEnv
from sqs_workers.backoff_policies import ConstantBackoff

from tests.clients.libraries.task import QUEUE, do

sqs = SQSEnv(codec="json", backoff_policy=ConstantBackoff(0))
queue = sqs.queue(QUEUE)


@queue.processor("run")
def run(word: str) -> None:
    do(word)


if sys.argv[1] == "work":
    queue.process_queue(wait_second=1)
else:
    queue.add_job("run", word=sys.argv[2], _delay_seconds=int((sys.argv[3:] or ["0"])[0]) or None)
