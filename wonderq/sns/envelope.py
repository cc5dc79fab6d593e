"""Envelopes: the JSON object that a queue gets for a message, unless its subscription wants raw messages.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html#http-notification-json
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.model.attributes import Attribute
from wonderq.model.times import iso_time
from wonderq.model.topics import Published, is_fifo
from wonderq.sns.names import subscription_arn, subscription_name, topic_arn
from wonderq.sns.signing import Signer
from wonderq.sns.topics import ADDRESS, REGION
from wonderq.sqs.messages import sequence_number
from wonderq.sqs.names import DEFAULT_REGION


class Envelopes:
    """Makes envelopes when messages are delivered: the broker's `EnvelopeWriter`."""

    def __init__(self, broker: Broker, address: PublicAddress, signer: Signer | None) -> None:
        """Without ``signer`` they are not signed. ``address`` is that of their URLs, if it is configured."""
        self._broker = broker
        self._address = address
        self._signer = signer

    def write(self, published: Published, queue: str, body: str, attributes: Mapping[str, Attribute]) -> str:
        """Return the envelope of a message.

        Region and address are those of the first SNS client that created the topic. A topic of the REST API has none,
        so its envelopes have the name of the topic too, and no URLs unless ``--public-url`` is set.
        """
        region, base, version = self.place(published.topic)
        found: dict[str, Any] = {"Type": "Notification", "MessageId": published.id}
        if is_fifo(published.topic):
            sequence = self._broker.core.ids.decode_id(published.id)
            if sequence is not None:
                found["SequenceNumber"] = sequence_number(sequence[1])
        if not self._is_of_sns(published.topic):
            found["Topic"] = published.topic
        found["TopicArn"] = topic_arn(region, published.topic)
        if published.subject:
            found["Subject"] = published.subject
        found |= {"Message": body, "Timestamp": iso_time(published.published_ms)}
        if not is_fifo(published.topic):  # SNS does not sign those of FIFO topics
            self._sign(found, version, base)
        if base:
            name = self._broker.topics.name_of_subscription(published.topic, queue)
            arn = subscription_arn(region, published.topic, name or subscription_name(published.topic, queue))
            found["UnsubscribeURL"] = (
                f"{base}/?{urlencode({'Action': 'Unsubscribe', 'SubscriptionArn': arn}, safe=':')}"
            )
        if attributes:
            found["MessageAttributes"] = {name: _attribute(*each) for name, each in attributes.items()}
        return _as_text(found)

    def confirmation(self, topic: str, message_id: str, token: str, produced_ms: int) -> str:
        """Return the text that asks an endpoint to confirm its subscription to a topic."""
        wants = f"The topic {self._arn_of(topic)} wants to deliver to this endpoint."
        says = f"{wants} Visit the SubscribeURL to confirm that."
        return self._request("SubscriptionConfirmation", topic, message_id, token, says, produced_ms)

    def end(self, topic: str, subscription: str, message_id: str, token: str, ended_ms: int) -> str:
        """Return the text that tells an endpoint that its subscription has ended."""
        region, _, _ = self.place(topic)
        ended = f"The subscription {subscription_arn(region, topic, subscription)} has ended."
        says = f"{ended} Visit the SubscribeURL to subscribe again."
        return self._request("UnsubscribeConfirmation", topic, message_id, token, says, ended_ms)

    def _request(self, kind: str, topic: str, message_id: str, token: str, message: str, at_ms: int) -> str:
        """Return a text that has a token, signed."""
        _, base, version = self.place(topic)
        arn = self._arn_of(topic)
        query = urlencode({"Action": "ConfirmSubscription", "TopicArn": arn, "Token": token}, safe=":")
        found = {
            "Type": kind,
            "MessageId": message_id,
            "Token": token,
            "TopicArn": arn,
            "Message": message,
            "SubscribeURL": f"{base}/?{query}",
            "Timestamp": iso_time(at_ms),
        }
        self._sign(found, version, base)
        return _as_text(found)

    def _arn_of(self, topic: str) -> str:
        region, _, _ = self.place(topic)
        return topic_arn(region, topic)

    def place(self, topic: str) -> tuple[str, str, str]:
        """Return the region and the address of a topic, which may be empty, and the version of its signatures."""
        settings = self._broker.topics.settings_of(topic)
        sns = settings.sns if settings is not None else {}
        base = self._address.url or sns.get(ADDRESS, "")
        return sns.get(REGION, DEFAULT_REGION), base, sns.get("SignatureVersion", "1")

    def _is_of_sns(self, topic: str) -> bool:
        settings = self._broker.topics.settings_of(topic)
        return settings is not None and REGION in settings.sns

    def _sign(self, found: dict[str, Any], version: str, base: str) -> None:
        """Add a signature to an object, if this broker can sign."""
        signed = None if self._signer is None else self._signer.sign(found, version)
        if signed is not None:
            found |= {"SignatureVersion": version, "Signature": signed[0]}
            if base:
                found["SigningCertURL"] = f"{base}{signed[1]}"


def _attribute(kind: str, value: str | bytes) -> dict[str, str]:
    return {"Type": kind, "Value": b64encode(value).decode() if isinstance(value, bytes) else value}


def _as_text(fields: Mapping[str, Any]) -> str:
    """Return an envelope as SNS writes it: a line for each field."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, dict):
            inner = ",\n".join(
                f"    {json.dumps(key, ensure_ascii=False)} : {json.dumps(each, ensure_ascii=False)}"
                for key, each in value.items()
            )
            lines.append(f'  "{name}" : {{\n{inner}\n  }}')
        else:
            lines.append(f'  "{name}" : {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}"
