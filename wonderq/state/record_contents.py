"""The messages whose entries a record holds: those of one queue, or published ones that are in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from wonderq.state.record import (
    WITH_HEAD,
    Produce,
    Publish,
    Record,
    Restate,
    Runs,
    Send,
    Update,
    decode_entry,
    from_runs,
)


class Contents(NamedTuple):
    """Messages of one queue whose entries a record holds."""

    queue: int
    runs: Runs
    lengths: Sequence[int]
    """Bytes of each message's entry."""
    entries: bytes


def contents_of(record: Record) -> Contents | None:
    """Return the messages of one queue whose entries a record holds, or None if it holds none, or shared ones."""
    match record:
        case Produce() | Send():
            return Contents(record.queue, [record.first, len(record.lengths)], record.lengths, bytes(record.entries))
        case Update() if record.runs:
            return Contents(record.queue, list(record.runs), record.lengths, bytes(record.entries))
    return None


class Span(NamedTuple):
    """Place of a published message in the entries of its record."""

    head: int
    """Offset of its head; that of its entry if it has none."""
    entry: int
    """Offset of its entry."""
    end: int

    def start(self, flags: int) -> int:
        """Return the offset at which the message begins in a queue with these flags."""
        return self.head if flags & WITH_HEAD else self.entry


class Sharer(NamedTuple):
    """Messages that one queue has of a record whose entries several queues share."""

    queue: int
    flags: int
    indexes: Sequence[int]
    """Index in the record of each message."""
    sequences: Sequence[int]
    """Sequence number in the queue of each message."""


def spans_of(record: Publish | Restate) -> list[Span]:
    """Return the place of each message.

    Raises:
        ValueError: the lengths are not those of the entries.
    """
    heads = record.heads or [0] * len(record.lengths)
    if len(heads) != len(record.lengths) or sum(heads) + sum(record.lengths) != len(record.entries):
        raise ValueError("the lengths of its messages are not those of their entries")
    spans, at = [], 0
    for head, length in zip(heads, record.lengths, strict=True):
        spans.append(Span(at, at + head, at + head + length))
        at += head + length
    return spans


def sharers_of(record: Publish | Restate) -> Iterator[Sharer]:
    """Yield the messages that each queue has of a record."""
    if isinstance(record, Restate):
        for queue, flags, indexes, runs, *_ in record.parts:
            yield Sharer(queue, flags, list(from_runs(indexes)), list(from_runs(runs)))
        return
    for queue, first, flags, _, runs in record.targets:
        chosen = list(from_runs(runs)) if runs else range(len(record.lengths))
        yield Sharer(queue, flags, chosen, range(first, first + len(chosen)))


class Entry(NamedTuple):
    """Entry of one message in a record."""

    queue: int
    sequence: int
    data: bytes

    @property
    def problem(self) -> str | None:
        """Sentence that says why the entry does not verify, or None."""
        try:
            decode_entry(self.data)
        except ValueError as error:
            return f"message {self.sequence} of queue {self.queue}: {error}"
        return None


def entries_of(record: Record) -> Iterator[Entry]:
    """Yield the entries that a record holds. One that several queues share is yielded for each of them.

    Raises:
        ValueError: the record does not have the fields of its kind.
    """
    try:
        if isinstance(record, Publish | Restate):
            yield from _shared_entries(record)
            return
        contents = contents_of(record)
        if contents is None:
            return
        named = list(zip(from_runs(contents.runs), contents.lengths, strict=True))
        if sum(contents.lengths) != len(contents.entries):
            raise ValueError("the lengths of its messages are not those of their entries")
        ends = accumulate(contents.lengths)
        for (sequence, length), end in zip(named, ends, strict=True):
            yield Entry(contents.queue, sequence, contents.entries[end - length : end])
    except (TypeError, LookupError) as error:
        raise ValueError(f"the record has other fields than its kind ({error!r})") from error


def distinct_entries_of(record: Publish | Restate) -> Iterator[Entry]:
    """Yield each entry of a record once, without its head, as one of the first queue that has it."""
    spans, entries = spans_of(record), bytes(record.entries)
    owners: dict[int, tuple[int, int]] = {}
    for queue, _, indexes, sequences in sharers_of(record):
        for index, sequence in zip(indexes, sequences, strict=True):
            owners.setdefault(index, (queue, sequence))
    for index, span in enumerate(spans):
        yield Entry(*owners.get(index, (0, 0)), entries[span.entry : span.end])


def _shared_entries(record: Publish | Restate) -> Iterator[Entry]:
    spans, entries = spans_of(record), bytes(record.entries)
    for queue, flags, indexes, sequences in sharers_of(record):
        for index, sequence in zip(indexes, sequences, strict=True):
            yield Entry(queue, sequence, entries[spans[index].start(flags) : spans[index].end])
