"""kombu alone: a consumer that requeues what failed."""

from __future__ import annotations

import os
import sys
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin

from tests.clients.libraries.task import QUEUE, TaskError, do

queue = Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)


def connect() -> Connection:
    address = os.environ["AWS_ENDPOINT_URL_SQS"].removeprefix("http://")
    options = {
        "region": "us-east-1",
        "is_secure": False,
        "wait_time_seconds": 1,
        "polling_interval": 0.1,
        "visibility_timeout": 2,
    }
    return Connection(f"sqs://any:any@{address}", transport_options=options)


class Worker(ConsumerMixin):
    """Does one task at a time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_consumers(self, _consumer: Any, channel: Any) -> list[Consumer]:
        return [Consumer(channel, [queue], callbacks=[self.handle], accept=["json"], prefetch_count=1)]

    def handle(self, body: str, message: Any) -> None:
        try:
            do(body)
        except TaskError:
            message.requeue()
        else:
            message.ack()


with connect() as connection:
    if sys.argv[1] == "work":
        Worker(connection).run()
    else:
        Producer(connection).publish(
            sys.argv[2], serializer="json", routing_key=QUEUE, exchange=queue.exchange, declare=[queue]
        )
