"""Bodies that are costly for their size, for each call that takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.scripts import JSON, MSGPACK

_TARGET = "AmazonSQS."
SQS_JSON = "application/x-amz-json-1.0"
FORM = "application/x-www-form-urlencoded"

#: In a part, the number of the part; in the text before the parts, their count.
_NUMBER, _COUNT = b"%08d", b"COUNT"


class Hostile(NamedTuple):
    """One request: a body that repeats a part up to its size."""

    name: str
    call: str
    """Method and path."""
    media_type: str
    before: bytes
    part: bytes
    separator: bytes
    after: bytes
    action: str = ""
    """Action of SQS, for its JSON format."""

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": self.media_type, **({"X-Amz-Target": _TARGET + self.action} if self.action else {})}

    def body(self, size: int) -> bytes:
        """Return a body of at most ``size`` bytes."""
        numbered = _NUMBER in self.part
        first = self.part % 0 if numbered else self.part
        count = max(0, (size - len(self.before) - len(self.after)) // (len(first) + len(self.separator)))
        parts = [self.part % number for number in range(count)] if numbered else [self.part] * count
        before = self.before.replace(_COUNT, count.to_bytes(4, "big"))
        return before + self.separator.join(parts) + self.after


def _json(name: str, call: str, before: str, part: str, separator: str = ",", after: str = "]}") -> Hostile:
    return Hostile(name, call, JSON, before.encode(), part.encode(), separator.encode(), after.encode())


HOSTILE = [
    _json("empty ids to update", "POST /messages/update", '{"entries":[', '{"id":""}'),
    _json("empty objects to update", "POST /messages/update", '{"entries":[', "{}"),
    _json("empty receipts to delete", "POST /messages/delete", '{"receipts":[', '""'),
    _json("empty ids to delete", "POST /messages/delete", '{"ids":[', '""'),
    _json(
        "empty receipts to hand over",
        "POST /messages/hand-over",
        '{"produce":[{"queue":"a","message":"x"}],"receipts":[',
        '""',
    ),
    _json("empty messages to hand over", "POST /messages/hand-over", '{"receipts":["x"],"produce":[', "{}"),
    _json("empty texts", "POST /messages/produce", '{"messages":[', '""'),
    _json("small messages", "POST /messages/produce", '{"messages":[', '{"message":"","attributes":{"a":""}}'),
    _json("attribute names", "POST /messages/produce", '{"message":"x","attributes":{', '"%08d":""', after="}}"),
    _json("nested lists", "POST /messages/produce", '{"messages":', "[", "", ""),
    _json("numbers", "POST /messages/consume", '{"max":[', "1"),
    _json("an unknown field", "POST /messages/consume", '{"x":[', '{"":[]}'),
    _json("tags", "PUT /queues/tagged", '{"tags":{', '"%08d":""', after="}}"),
    Hostile(
        "empty texts in msgpack", "POST /messages/produce", MSGPACK, b"\x81\xa8messages\xddCOUNT", b"\xa0", b"", b""
    ),
    Hostile("empty maps in msgpack", "POST /messages/update", MSGPACK, b"\x81\xa7entries\xddCOUNT", b"\x80", b"", b""),
    Hostile("an escaped action", "POST /", FORM, b"Action=", b"%41", b"", b""),
    Hostile("many parameters", "POST /", FORM, b"Action=ListQueues&", b"a=", b"&", b""),
    Hostile(
        "an escaped text",
        "POST /",
        FORM,
        b"Action=SendMessage&QueueUrl=/000000000000/default&MessageBody=",
        b"%41",
        b"",
        b"",
    ),
    Hostile(
        "entries in a form",
        "POST /",
        FORM,
        b"Action=DeleteMessageBatch&QueueUrl=/000000000000/default&",
        b"DeleteMessageBatchRequestEntry.%08d.Id=",
        b"&",
        b"",
    ),
    Hostile("empty lists in JSON of SQS", "POST /", SQS_JSON, b'{"Entries":[', b"[]", b",", b"]}", "SendMessageBatch"),
    Hostile(
        "nested JSON of SQS", "POST /", SQS_JSON, b'{"Entries":[', b'{"":{"":[]}}', b",", b"]}", "DeleteMessageBatch"
    ),
    Hostile("names in JSON of SQS", "POST /", SQS_JSON, b'{"Tags":{', b'"%08d":""', b",", b"}}", "TagQueue"),
]
