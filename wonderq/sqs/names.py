"""How queues are called: by URL, by ARN and by name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from wonderq.sqs.errors import SqsError, invalid, missing, no_such_queue

#: There is one account, and this is its number.
ACCOUNT = "000000000000"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_ARN = re.compile(r"arn:[a-z-]+:sqs:[a-z0-9-]*:\d*:(?P<name>[A-Za-z0-9_.-]{1,80})")


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def name_in_url(url: str | None) -> str:
    """Return the queue that a URL means: what its path ends in, whatever its host is.

    Raises:
        SqsError: there is none, or it is none.
    """
    if not url:
        raise missing("QueueUrl")
    try:
        _, slash, name = urlsplit(url).path.rpartition("/")
    except ValueError:
        slash = ""
    if not slash:
        raise SqsError("InvalidAddress", f"The address {url[:100]} is not valid for this endpoint.")
    if not is_name(name):
        raise no_such_queue()
    return name


def url_of(base: str, name: str) -> str:
    """Return a queue's URL; ``base`` is the address that the client used."""
    return f"{base}/{ACCOUNT}/{name}"


def arn_of(region: str, name: str) -> str:
    return f"arn:aws:sqs:{region}:{ACCOUNT}:{name}"


def name_in_arn(arn: object, parameter: str) -> str:
    """Return the queue that an ARN means.

    Raises:
        SqsError: it is none.
    """
    found = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if found is None:
        raise invalid(parameter, arn, "It has to be the ARN of a queue.")
    return found["name"]
