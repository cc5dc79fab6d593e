"""A consumer process of `wonderq demo`: receive files, read them, send the results, delete the messages.

The result of a file is sent before its message is deleted. So a kill in between causes a second result, but never loses
the only one. A result whose answer is lost is sent again by the client, and the broker adds it once.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from wonderq.client.errors import NotFound, StaleReceipt
from wonderq.client.sync import Client

FILES = "files"
RESULTS = "results"
VISIBILITY_TIMEOUT_S = 3

#: Small, so that a batch is done long before its claims expire, and that the other consumers have work too.
_CLAIM_BATCH = 5
_WAIT_S = 1
#: Seconds and repetitions until a consumer gives up on a broker that is down.
_PATIENCE_S = 60
_RETRIES = 1000


class Source(msgspec.Struct):
    """A message: the file to process."""

    path: str


class Result(msgspec.Struct):
    """The result of one file, and how it was obtained."""

    path: str
    lines: int
    sha256: str
    consumer: int = 0
    receive_count: int = 0
    """Receive count of the message under the claim."""


def measure(path: str) -> Result:
    """Count a file's lines and hash it."""
    data = Path(path).read_bytes()
    return Result(path, data.count(b"\n"), hashlib.sha256(data).hexdigest())


def work(url: str, number: int) -> None:
    """Receive messages until this process is killed or its parent process ends."""
    parent = os.getppid()
    with Client(url, retries=_RETRIES, timeout=_PATIENCE_S) as client:
        files, results = client.queue(FILES), client.queue(RESULTS)
        while os.getppid() == parent:
            for message in files.receive(_CLAIM_BATCH, wait=_WAIT_S, lease=VISIBILITY_TIMEOUT_S):
                result = measure(message.json_as(Source).path)
                result.consumer = number
                result.receive_count = message.tries
                results.send(result)
                with suppress(NotFound, StaleReceipt):  # the claim expired, and another consumer has the message
                    message.delete()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
