"""Calls of SNS with boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.support.http_client import ServedBroker, serving
from tests.support.sqs_clients import REGION, Boto, boto_client, call
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.sns.limits import STRICT, SnsLimits
from wonderq.sns.signing import Signer


def sns_client(url: str, key_id: str = "any", secret: str = "any", region: str = REGION) -> Any:
    """Return a client that asks once, and does not try again."""
    return boto_client(url, key_id, secret, service="sns", region=region)


class Sns(NamedTuple):
    """A broker that is served to clients of SNS and SQS."""

    served: ServedBroker
    client: Any
    sqs: Boto

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.served.port}"

    @property
    def broker(self) -> Broker:
        return self.served.broker

    def __call__(self, action: str, **members: Any) -> dict[str, Any]:
        """Call an action by its name in the API."""
        return call(self.client, action, **members)

    def topic(self, name: str = "orders", **attributes: str) -> str:
        """Create a topic, and return its ARN."""
        if name.endswith(".fifo"):
            attributes["FifoTopic"] = "true"
        arn: str = self("CreateTopic", Name=name, Attributes=attributes)["TopicArn"]
        return arn

    def queue(self, name: str = "jobs") -> str:
        """Create a queue, and return its ARN."""
        self.sqs("CreateQueue", QueueName=name, Attributes={"FifoQueue": "true"} if name.endswith(".fifo") else {})
        return queue_arn(name)

    def subscribe(self, topic: str, queue: str, **attributes: str) -> str:
        """Subscribe a queue, and return the ARN of the subscription."""
        found = self("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes=attributes)
        arn: str = found["SubscriptionArn"]
        return arn

    def receive(self, name: str = "jobs") -> list[dict[str, Any]]:
        """Receive the messages of a queue."""
        found = self.sqs(
            "ReceiveMessage",
            QueueUrl=f"{self.url}/000000000000/{name}",
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = found.get("Messages", [])
        return messages

    def bodies(self, name: str = "jobs") -> list[str]:
        return [each["Body"] for each in self.receive(name)]


@contextmanager
def serving_sns(broker: Broker, limits: SnsLimits = STRICT, signer: Signer | None = None) -> Iterator[Sns]:
    with serving(broker, create_app(broker, sns_limits=limits, signer=signer)) as served:
        url = f"http://127.0.0.1:{served.port}"
        yield Sns(served, sns_client(url), Boto(url))


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:000000000000:{name}"


def topic_arn(name: str) -> str:
    return f"arn:aws:sns:{REGION}:000000000000:{name}"
