"""A consumer process of `wonderq demo`: claim files, read them, store the results, delete the messages.

The result of a file is stored before its message is deleted. So a kill in between causes a second result, but never
loses the only one. Every result records its claim, and whether it was sent again because an answer was lost. The demo
uses this to explain why a file was processed twice.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wonderq.client.simple import Client, RefusedError, UnreachableError

FILES = "files"
RESULTS = "results"
VISIBILITY_TIMEOUT_S = 3

#: Small, so that a batch is done long before its claims expire, and that the other consumers have work too.
_CLAIM_BATCH = 5
_WAIT_S = 1
_PAUSE_S = 0.1
_PATIENCE_S = 60

_T = TypeVar("_T")


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
    resent: bool = False
    """Whether the result was sent before, to a broker that did not answer."""


def measure(path: str) -> Result:
    """Count a file's lines and hash it."""
    data = Path(path).read_bytes()
    return Result(path, data.count(b"\n"), hashlib.sha256(data).hexdigest())


def work(url: str, number: int) -> None:
    """Consume messages until this process is killed or its parent process ends."""
    parent = os.getppid()
    with Client(url, queue=FILES) as files, Client(url, queue=RESULTS) as results:
        while os.getppid() == parent:
            for message in _insist(partial(_claim, files)):
                source = msgspec.json.decode(message["message"], type=Source)
                result = measure(source.path)
                result.consumer = number
                result.receive_count = message["receive_count"]
                _insist(partial(_store, results, result))
                _insist(partial(_delete, files, message["receipt"]))


def _claim(files: Client, _attempt: int) -> list[dict[str, Any]]:
    return files.consume(limit=_CLAIM_BATCH, wait=_WAIT_S, visibility_timeout=VISIBILITY_TIMEOUT_S)


def _store(results: Client, result: Result, attempt: int) -> None:
    result.resent = attempt > 0
    results.produce(msgspec.json.encode(result).decode())


def _delete(files: Client, receipt: str, _attempt: int) -> None:
    try:
        files.delete(receipt)
    except RefusedError as error:
        # The previous attempt deleted it and its answer was lost, or the claim expired and another consumer has it.
        if error.code not in ("message_not_found", "stale_receipt"):
            raise


def _insist(call: Callable[[int], _T]) -> _T:
    """Call with the number of the attempt, and retry until the broker answers: it may be down for a moment."""
    give_up = time.monotonic() + _PATIENCE_S
    attempt = 0
    while True:
        try:
            return call(attempt)
        except (UnreachableError, RefusedError) as error:
            passing = isinstance(error, UnreachableError) or error.status == 503
            if not passing or time.monotonic() > give_up:
                raise
        attempt += 1
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
