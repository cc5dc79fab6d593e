"""Scripts for the connections of a load: produce, or consume and delete, one message or a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.load import Script, request

_CODECS: dict[str, tuple[Any, Any]] = {
    "application/json": (msgspec.json.encode, msgspec.json.decode),
    "application/msgpack": (msgspec.msgpack.encode, msgspec.msgpack.decode),
}
JSON, MSGPACK = _CODECS


def producer(body_bytes: int = 100, batch: int = 1, media_type: str = JSON, queue: str = "default") -> Script:
    encode, _ = _CODECS[media_type]
    bodies = ["x" * body_bytes] * batch
    body = encode({"message": bodies[0]} if batch == 1 else {"messages": bodies})
    data = request(f"/queues/{queue}/messages/produce", body, media_type)
    return lambda _answer: data


def consumer(batch: int = 1, media_type: str = JSON, queues: Sequence[str] = ("default",)) -> Script:
    """Return a script that consumes and deletes in turn. It raises ValueError if it receives less than a batch."""
    encode, decode = _CODECS[media_type]
    wanted = [request(f"/queues/{queue}/messages/consume", encode({"max": batch}), media_type) for queue in queues]
    turn = 0

    def ask(answer: bytes) -> bytes:
        nonlocal turn
        turn += 1
        queue = (turn - 1) // 2 % len(queues)
        if turn % 2:
            return wanted[queue]
        receipts = [message["receipt"] for message in decode(answer)]
        if len(receipts) != batch:
            raise ValueError(f"{len(receipts)} messages came, and {batch} were asked for")
        return request(f"/queues/{queues[queue]}/messages/delete", encode({"receipts": receipts}), media_type)

    return ask
