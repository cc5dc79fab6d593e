"""dramatiq with dramatiq_sqs. Without ``visibility_timeout``, a task of a killed worker would come back after 12 hours."""

from __future__ import annotations

import sys

import dramatiq
from dramatiq.cli import main, make_argument_parser
from dramatiq_sqs import SQSBroker

from tests.clients.libraries.task import QUEUE, do

broker = SQSBroker(dead_letter=True, visibility_timeout=2)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE, max_retries=2, min_backoff=1, max_backoff=1)
def run(word: str) -> None:
    do(word)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        command = ["tests.clients.libraries.dramatiq_worker", "--processes", "1", "--threads", "1", "--skip-logging"]
        sys.exit(main(make_argument_parser().parse_args(command)))
    delay_s = int((sys.argv[3:] or ["0"])[0])
    run.send_with_options(args=(sys.argv[2],), delay=delay_s * 1000 or None)
