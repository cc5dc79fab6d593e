"""tomodachi: a service with two handlers of a topic, of which one has a filter. It publishes, and prints what they get."""

from __future__ import annotations

import json
import os
from typing import Any

import tomodachi
from tomodachi import aws_sns_sqs, aws_sns_sqs_publish

URL = os.environ["AWS_ENDPOINT_URL"]
KINDS = ("paid", "new", "paid")


class Service(tomodachi.Service):
    """A service that ends when its handlers have all messages."""

    name = "orders"
    options = tomodachi.Options(
        aws_endpoint_urls=tomodachi.Options.AWSEndpointURLs(sns=URL, sqs=URL, sts=URL),
        aws_sns_sqs=tomodachi.Options.AWSSNSSQS(
            region_name=os.environ["AWS_DEFAULT_REGION"],
            aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        ),
    )

    def __init__(self) -> None:
        self.got: dict[str, list[str]] = {"all": [], "paid": []}

    @aws_sns_sqs("orders", queue_name="all", competing=True)
    async def handle_all(self, value: Any) -> None:
        self.note("all", value)

    @aws_sns_sqs("orders", queue_name="paid", competing=True, filter_policy={"kind": ["paid"]})
    async def handle_paid(self, value: Any) -> None:
        self.note("paid", value)

    def note(self, handler: str, value: Any) -> None:
        self.got[handler].append(str(value))
        if sum(map(len, self.got.values())) == len(KINDS) + KINDS.count("paid"):
            print("GOT " + json.dumps({name: sorted(values) for name, values in self.got.items()}), flush=True)
            tomodachi.exit(0)

    async def _started_service(self) -> None:
        for number, kind in enumerate(KINDS):
            await aws_sns_sqs_publish(self, f"{kind} {number}", topic="orders", message_attributes={"kind": kind})
