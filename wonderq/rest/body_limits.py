"""The size of the largest body that each call can need."""

from __future__ import annotations

from collections.abc import Callable

from falcon.routing import CompiledRouter

from wonderq.auth.roles import SQS_ADDRESSES, is_plain_name
from wonderq.model.bounds import ESCAPED_BYTES
from wonderq.model.failures import MAX_ERROR_BYTES
from wonderq.model.limits import Limits

#: Bytes of a receipt or an id in a list, with every character escaped.
_RECEIPT_BYTES = 512

#: Limit of calls that take neither messages nor lists. A schedule or the tags of a queue, escaped, are the most.
_OTHER_BYTES = 512 << 10

#: Calls that take a batch of messages.
_BATCHES = ("/messages/produce", "/messages/update", "/messages/hand-over")


def body_limit(router: CompiledRouter, limits: Limits, *, sqs_batch_bytes: int) -> Callable[[str, str], int]:
    """Return a function from method and path to the size of the largest body that this call can need.

    ``sqs_batch_bytes`` is the size of all messages in one request of an SQS client. Their encoding triples it at most:
    a form escapes each byte, and a JSON encoder each character that is not ASCII.
    """
    sqs = 3 * sqs_batch_bytes + (1 << 20)
    batch = 2 * limits.batch_bytes + (1 << 20)
    by_call = dict.fromkeys(_BATCHES, batch) | {
        "/messages/{message_id}": ESCAPED_BYTES * limits.message_bytes + _OTHER_BYTES,
        "/messages/next": (_RECEIPT_BYTES + 2 * MAX_ERROR_BYTES) * limits.batch_messages + _OTHER_BYTES,
        "/messages/delete": _RECEIPT_BYTES * limits.batch_messages + _OTHER_BYTES,
        "/topics/{topic}/publish": batch,
        "/topics/{topic}/match": ESCAPED_BYTES * limits.message_bytes + _OTHER_BYTES,
        **dict.fromkeys(("/", *SQS_ADDRESSES), sqs),
    }

    def limit(method: str, path: str) -> int:
        found = router.find(path)
        if found is None:
            return sqs if is_plain_name(method, path) else _OTHER_BYTES
        return by_call.get((found[3] or "").removeprefix("/queues/{queue}"), _OTHER_BYTES)

    return limit
