"""A consumer of `wonderq demo`, in a process of its own: claim files, read them, store the results, delete the messages.

The result of a file goes to the broker before its message is deleted, so a kill in between costs a second result and
never the only one. Every result says which claim it was made under and whether it was sent again because the answer
was lost: so whoever adds them up can tell why a file was done twice.
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

from wonderq.client import Client, RefusedError, UnreachableError

FILES = "files"
RESULTS = "results"
VISIBILITY_TIMEOUT_S = 3

#: Small enough that a batch is done long before its claims run out, and that others have work too.
_CLAIM_BATCH = 5
_WAIT_S = 1
_PAUSE_S = 0.1
_PATIENCE_S = 60

_T = TypeVar("_T")


class Source(msgspec.Struct):
    """The message: a file to look at."""

    path: str


class Result(msgspec.Struct):
    """What came out of one file, and how it came about."""

    path: str
    lines: int
    sha256: str
    consumer: int = 0
    receive_count: int = 0
    """How often the message had been given out when this was made."""
    resent: bool = False
    """Whether it was sent before, to a broker that did not answer."""


def measure(path: str) -> Result:
    """Count a file's lines and hash it."""
    data = Path(path).read_bytes()
    return Result(path, data.count(b"\n"), hashlib.sha256(data).hexdigest())


def work(url: str, number: int) -> None:
    """Consume until this process is ended, or left alone by the one that started it."""
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
        # Deleted already, by the attempt before, whose answer was lost; or the claim ran out, and another has it.
        if error.code not in ("message_not_found", "stale_receipt"):
            raise


def _insist(call: Callable[[int], _T]) -> _T:
    """Call, with the number of the attempt, until the broker answers: it may be down for a moment."""
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
