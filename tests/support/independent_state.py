"""The messages that the records of `independent_reader` result in, also written from docs/FORMAT.md alone."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from tests.support.independent_reader import check, records


def contents(path: Path, at: int, lengths: list[int], entries: bytes) -> Iterator[dict[str, Any]]:
    """Yield the body and the headers of each entry."""
    check(sum(lengths) == len(entries), path, at, "the entries are not as long as their lengths say")
    for entry in (entries[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)):
        if entry[4:5] in (b"\xc4", b"\xc5"):  # a head, and then the entry
            size = 6 + entry[5] if entry[4] == 0xC4 else 7 + int.from_bytes(entry[5:7], "big")
            check(crc32(entry[4:size]) == int.from_bytes(entry[:4], "little"), path, at, "a damaged head")
            [inner] = contents(path, at, [len(entry) - size], entry[size:])
            yield inner | {
                "carried": {**inner.get("carried", {}), "published": msgpack.unpackb(msgpack.unpackb(entry[4:size]))}
            }
            continue
        check(not entry or crc32(entry[4:]) == int.from_bytes(entry[:4], "little"), path, at, "a damaged entry")
        value = msgpack.unpackb(entry[4:]) if entry else None
        body, headers = value if isinstance(value, list) else (value, {})
        yield {"body": body} | ({"carried": headers} if headers else {}) if entry else {}


def spread(runs: list[int]) -> list[int]:
    """Return the numbers that runs of first number and count stand for."""
    return [n for first, count in zip(runs[::2], runs[1::2], strict=True) for n in range(first, first + count)]


def shared(
    path: Path, at: int, kind: int, time: int, fields: list[Any]
) -> Iterator[tuple[int, dict[int, dict[str, Any]]]]:
    """Yield the messages that each queue has of a PUBLISH (14) or RESTATE (15) record."""
    *_, heads, lengths, entries = fields
    wholes = [head + length for head, length in zip(heads or [0] * len(lengths), lengths, strict=True)]
    check(sum(wholes) == len(entries), path, at, "the entries are not as long as their lengths say")
    ends = list(accumulate(wholes))

    def read(n: int, flags: int) -> dict[str, Any]:
        size = wholes[n] if flags & 1 else lengths[n]
        [message] = contents(path, at, [size], entries[ends[n] - size : ends[n]])
        return message

    if kind == 14:
        _, _, targets, dues, *_ = fields
        for queue, first, flags, delayed, runs in targets:
            chosen = spread(runs) if runs else list(range(len(lengths)))
            due = {n: (dues[n] if dues else 0) or delayed for n in chosen}
            yield (
                queue,
                {
                    first + place: read(n, flags)
                    | {
                        "status": 3 if due[n] > time else 1,
                        "due": due[n] if due[n] > time else 0,
                        "receives": 0,
                        "token": None,
                    }
                    for place, n in enumerate(chosen)
                },
            )
        return
    for queue, flags, indexes, runs, _, claims in fields[0]:
        live = {
            sequence: read(n, flags) | {"status": 1, "due": 0, "receives": 0, "token": None}
            for n, sequence in zip(spread(indexes), spread(runs), strict=True)
        }
        for sequence, status, due_ms, _, receives, token, *_ in claims:
            live[sequence] |= {"status": status, "due": due_ms, "receives": receives, "token": token or None}
        yield queue, live


def live_messages(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the live messages by queue and sequence. A message whose produce record was dropped is there once rewritten.

    Each has its body, status of the last record (1 waiting, 2 claimed, 3 delayed), deadline, receive count and token.
    """
    names: dict[int, str] = {}
    queues: dict[int, dict[int, dict[str, Any]]] = {}
    for path, at, (kind, time, queue, *fields) in records(folder):
        if kind in (14, 15):
            for number, messages in shared(path, at, kind, time, fields):
                queues.setdefault(number, {}).update(messages)
        if kind in (10, 12, 13, 14, 15):
            continue
        live = queues.setdefault(queue, {})
        if kind == 1:
            names[queue] = fields[0]
        elif kind in (2, 8):
            first, dues, lengths, *_, entries = fields
            for n, body in enumerate(contents(path, at, lengths, entries)):
                due = dues[n] if dues and dues[n] > time else 0
                live[first + n] = body | {"status": 3 if due else 1, "due": due, "receives": 0, "token": None}
        elif kind in (3, 11):
            for message in (live[n] for n in spread(fields[0]) if n in live):
                token, receives = fields[2], message["receives"] + 1
                message |= {"status": 2, "due": time + fields[1], "receives": receives, "token": token}
        elif kind == 5:
            for n, status, due, _, *receives in fields[0]:
                if n in live:
                    live[n] |= {"status": status, "due": due} | ({} if status == 2 else {"token": None})
                    live[n] |= {"receives": receives[0]} if receives else {}
            _, runs, _, lengths, claims, entries = fields
            for n, body in zip(spread(runs), contents(path, at, lengths, entries), strict=True):
                live[n] = body | {"status": 1, "due": 0, "receives": 0, "token": None}
            for n, status, due, _, receives, token, *_ in claims:
                live[n] |= {"status": status, "due": due, "receives": receives, "token": token or None}
        elif kind in (4, 6):
            for n in spread(fields[0]) if kind == 4 else [n for n in live if n < fields[0]]:
                live.pop(n, None)
        elif kind == 7:
            queues.pop(queue, None)
            names.pop(queue, None)
    return {name: dict(sorted(queues[queue].items())) for queue, name in names.items()}
