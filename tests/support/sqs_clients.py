"""The same calls in both protocols: boto3, which speaks JSON, and a client of the older one, with forms written by hand."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from unittest import mock
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.http_client import ServedBroker, Wire, WireReply, serving
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.sqs.limits import STRICT, SqsLimits

FORM = "application/x-www-form-urlencoded"
REGION = "eu-central-1"
NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


class RefusedError(Exception):
    """Error raised by both clients."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class Caller(Protocol):
    """Calls an action by its name in the API, with members as boto3 takes them; returns what boto3 returns."""

    def __call__(self, action: str, **members: Any) -> dict[str, Any]: ...


def boto_client(
    url: str, key_id: str = "any", secret: str = "any", *, service: str = "sqs", region: str = REGION
) -> Any:
    """Return a client that asks once, and does not try again."""
    with mock.patch.dict(os.environ, {"AWS_EC2_METADATA_DISABLED": "true"}):
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}),
        )


def call(client: Any, action: str, **members: Any) -> dict[str, Any]:
    """Call an action of a client of boto3 by its name in the API."""
    method = client.meta.method_to_api_mapping
    [name] = [each for each, api_name in method.items() if api_name == action]
    try:
        answer: dict[str, Any] = getattr(client, name)(**members)
    except ClientError as error:
        response: Any = error.response
        found = response["Error"]
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        raise RefusedError(status, found["Code"], found["Message"]) from error
    del answer["ResponseMetadata"]
    return answer


class Boto:
    """Client that uses boto3."""

    def __init__(self, url: str) -> None:
        self.client = boto_client(url)

    def __call__(self, action: str, **members: Any) -> dict[str, Any]:
        return call(self.client, action, **members)


#: Name of each list or map of a request in a form; a map also has names for its keys and values.
_IN_FORMS: dict[str, tuple[str, ...]] = {
    "AttributeNames": ("AttributeName",),
    "MessageSystemAttributeNames": ("MessageSystemAttributeName",),
    "MessageAttributeNames": ("MessageAttributeName",),
    "TagKeys": ("TagKey",),
    "AWSAccountIds": ("AWSAccountId",),
    "Actions": ("ActionName",),
    "Attributes": ("Attribute", "Name", "Value"),
    "Tags": ("Tag", "Key", "Value"),
    "tags": ("Tag", "Key", "Value"),
    "MessageAttributes": ("MessageAttribute", "Name", "Value"),
    "StringListValues": ("StringListValue",),
    "BinaryListValues": ("BinaryListValue",),
    "MessageSystemAttributes": ("MessageSystemAttribute", "Name", "Value"),
}

#: Name of a list or map of an answer, by the XML name of its items.
_LISTS = {
    "QueueUrl": "QueueUrls",
    "Message": "Messages",
    "SendMessageBatchResultEntry": "Successful",
    "DeleteMessageBatchResultEntry": "Successful",
    "ChangeMessageVisibilityBatchResultEntry": "Successful",
    "BatchResultErrorEntry": "Failed",
    "ListMessageMoveTasksResultEntry": "Results",
}
_MAPS = {"Attribute": "Attributes", "MessageAttribute": "MessageAttributes", "Tag": "Tags"}
_NUMBERS = (
    "ApproximateNumberOfMessagesMoved",
    "ApproximateNumberOfMessagesToMove",
    "MaxNumberOfMessagesPerSecond",
    "StartedTimestamp",
)


def form_of(action: str, members: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return the fields of a form."""
    for name, value in members.items():
        if name == "Entries":
            for number, entry in enumerate(value, 1):
                yield from form_of(action, entry, f"{prefix}{action}RequestEntry.{number}.")
        elif isinstance(value, list):
            for number, each in enumerate(value, 1):
                yield f"{prefix}{_IN_FORMS[name][0]}.{number}", each
        elif isinstance(value, dict) and name in _IN_FORMS:
            item, key_name, value_name = _IN_FORMS[name]
            for number, (key, each) in enumerate(value.items(), 1):
                yield f"{prefix}{item}.{number}.{key_name}", key
                yield from form_of(action, {value_name: each}, f"{prefix}{item}.{number}.")
        elif isinstance(value, dict):
            yield from form_of(action, value, f"{prefix}{name}.")
        elif isinstance(value, bytes):
            yield prefix + name, b64encode(value).decode()
        else:
            yield prefix + name, str(value)


def result_of(element: ET.Element) -> Any:
    """Return the content of an element of an answer."""
    if not len(element):
        text = element.text or ""
        return b64decode(text) if element.tag == NAMESPACE + "BinaryValue" else text
    found: dict[str, Any] = {}
    for child in element:
        name = child.tag.removeprefix(NAMESPACE)
        if name == "QueueUrl" and element.tag.removeprefix(NAMESPACE) in ("CreateQueueResult", "GetQueueUrlResult"):
            found[name] = child.text
        elif name in _LISTS and element.tag != NAMESPACE + "BatchResultErrorEntry":
            found.setdefault(_LISTS[name], []).append(result_of(child))
        elif name in _MAPS:
            key, value = child
            found.setdefault(_MAPS[name], {})[key.text] = result_of(value)
        else:
            value = result_of(child)
            found[name] = int(value) if name in _NUMBERS else value == "true" if name == "SenderFault" else value
    return found


class Query:
    """Client that sends forms to the URL of a queue and reads XML, as the old SDKs do."""

    def __init__(self, served: Wire) -> None:
        self.served = served

    def __call__(self, action: str, **members: Any) -> dict[str, Any]:
        url = members.pop("QueueUrl", "http://x/")
        reply = post_form(self.served, [("Action", action), *form_of(action, members)], "/" + url.split("/", 3)[3])
        root = ET.fromstring(reply.content)
        assert reply.headers["content-type"] == "text/xml"
        if reply.status != 200:
            assert root.tag == NAMESPACE + "ErrorResponse"
            error = root[0]
            code, message = (error.findtext(NAMESPACE + name) for name in ("Code", "Message"))
            assert error.findtext(NAMESPACE + "Type") == ("Sender" if reply.status < 500 else "Receiver")
            raise RefusedError(reply.status, str(code), str(message))
        assert root.tag == f"{NAMESPACE}{action}Response"
        assert root.findtext(f"{NAMESPACE}ResponseMetadata/{NAMESPACE}RequestId") == reply.headers["x-amzn-requestid"]
        result = root.find(f"{NAMESPACE}{action}Result")
        found = result_of(result) if result is not None and len(result) else {}
        return {"queueUrls" if action == "ListDeadLetterSourceQueues" and name == "QueueUrls" else name: value
                for name, value in found.items()}  # fmt: skip


def post(served: Wire, body: bytes, headers: Mapping[str, str], path: str = "/") -> WireReply:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: localhost:{served.port}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return served.send(head.encode() + body, method="POST")


def post_form(served: Wire, fields: Any, path: str = "/") -> WireReply:
    return post(served, urlencode(fields).encode(), {"Content-Type": FORM}, path)


class Sqs(NamedTuple):
    """A broker that is served, with clients of both protocols."""

    served: ServedBroker
    boto: Boto
    query: Query

    @property
    def broker(self) -> Broker:
        return self.served.broker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.served.port}"

    def caller(self, protocol: str) -> Caller:
        return self.boto if protocol == "json" else self.query


@contextmanager
def serving_sqs(broker: Broker, limits: SqsLimits = STRICT) -> Iterator[Sqs]:
    with serving(broker, create_app(broker, sqs_limits=limits)) as served:
        yield Sqs(served, Boto(f"http://127.0.0.1:{served.port}"), Query(served))


def arn(name: str) -> str:
    return f"arn:aws:sqs:eu-central-1:000000000000:{name}"


def redrive(name: str, receives: Any = 2) -> dict[str, str]:
    return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn(name), "maxReceiveCount": receives})}
