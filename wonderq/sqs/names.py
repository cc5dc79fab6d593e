"""The names of queues in SQS: URL, ARN and plain name."""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from urllib.parse import urlsplit

from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.sqs.errors import invalid, missing, no_such_queue

ACCOUNT = "000000000000"
"""The number of the only AWS account that the endpoint has."""

DEFAULT_REGION = "us-east-1"
"""The region of a request that names none."""

_NAME = re.compile(QUEUE_NAME_PATTERN)

#: The form of a URL that the broker returns: it need not be parsed.
_USUAL_URL = re.compile(rf"https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[0-9]{{12}}/(?P<name>{QUEUE_NAME_PATTERN})")
_ARN = re.compile(r"arn:[a-z-]+:sqs:[^:\s]{0,64}:\d*:(?P<name>[A-Za-z0-9_.-]{1,80})")


def is_name(name: str) -> bool:
    """Return whether a queue can have this name."""
    return _NAME.fullmatch(name) is not None


def name_in_url(url: str | None) -> str:
    """Return the queue of a URL: the last part of its path, or the whole of it if it is just a name.

    Host and account are ignored. SQS took URLs of several shapes over the years, and all of them end in the name.

    Raises:
        SqsError: there is no URL, or it ends in no queue name.
    """
    if not url:
        raise missing("QueueUrl")
    usual = _USUAL_URL.fullmatch(url)
    if usual is not None:
        return usual["name"]
    try:
        name = urlsplit(url).path.removesuffix("/").rpartition("/")[2]
    except ValueError:
        name = ""
    if not is_name(name):
        raise no_such_queue()
    return name


def url_of(base: str, name: str) -> str:
    """Return a queue's URL. ``base`` is the address that the client used."""
    return f"{base}/{ACCOUNT}/{name}"


def arn_of(region: str, name: str) -> str:
    """Return a queue's ARN."""
    return f"arn:aws:sqs:{region}:{ACCOUNT}:{name}"


def name_in_arn(arn: object, parameter: str) -> str:
    """Return the queue of an ARN.

    Raises:
        SqsError: it is not the ARN of a queue.
    """
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if found is None:
        raise invalid(parameter, arn, "It must be the ARN of a queue.")
    return found["name"]


def page_token(name: str) -> str:
    """Return the ``NextToken`` of a page of a list that ends with a name."""
    return urlsafe_b64encode(name.encode()).decode()


def name_in_token(token: str) -> str:
    """Return the name with which the page before ended.

    Raises:
        ValueError: it is not a token of `page_token`.
    """
    return b64decode(token, altchars=b"-_", validate=True).decode()
