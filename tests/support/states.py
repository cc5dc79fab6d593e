"""Everything that a broker's state holds, as plain values that a test compares."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import pytest

from wonderq.state import columns, deadlines, message_table, ready_pages, record
from wonderq.state.columns import Columns
from wonderq.state.state import Queue, State
from wonderq.state.topics import Topic


def small_pages(monkeypatch: pytest.MonkeyPatch, bits: int, keep_below: int) -> None:
    """Let pages have ``1 << bits`` messages only."""
    for module in (columns, deadlines, message_table, ready_pages):
        monkeypatch.setattr(module, "PAGE_BITS", bits)
    monkeypatch.setattr(columns, "PAGE_MESSAGES", 1 << bits)
    monkeypatch.setattr(columns, "_KEEP_BELOW", keep_below)
    monkeypatch.setattr(columns, "SPARSE_MESSAGES", max(1 << bits, 4))


def thin(real: Columns, work: int = 1000) -> None:
    """Thin all pages, in portions."""
    page: int | None = 0
    while page is not None:
        page, _ = real.thin(page, work)


def columns_of(messages: Columns) -> dict[str, Any]:
    """Everything that a queue's columns say, to compare with those of another."""
    return {
        "next_sequence": messages.next_sequence,
        "counts": list(messages.counts),
        "bytes": messages.bytes,
        "names": sorted(messages.claim_names.rows()),
        "pages": {
            number: {name: copy(getattr(page, name)) for name in page.__slots__ if name not in ("listed", "frozen")}
            for number, page in messages._pages.items()
        },
    }


def _at(state: State, now_ms: int, about: Callable[[Queue], Any]) -> dict[str, Any]:
    for queue in state.queues.values():
        queue.messages.advance(now_ms)
        queue.messages.put_back(1 << 30, 0)  # what is set aside is found again, and is in no record
    state.forget(now_ms)
    state.free_dropped()
    return {
        "key": state.key,
        "next_queue": state.next_queue,
        "last_ms": state.last_ms,
        "sums": (state.messages, state.bytes, state.metadata_bytes),
        "notes": {
            space: {name: note.value for name, note in notes.items()}
            for space, notes in state.metadata.items()
            if notes
        },
        "remembered": state.dedup_entries,
        "queues": {name: about(queue) for name, queue in state.queues.items()},
        "topics": {name: about_topic(topic, now_ms) for name, topic in state.topics.items()},
        "subscribed": (state.subscriptions, state.subscription_bytes),
        "subscribers": {name: state.subscribers.topics_of(queue.number) for name, queue in state.queues.items()},
        "saved": state.shared.saved_bytes,
    }


def about_topic(topic: Topic, now_ms: int) -> dict[str, Any]:
    """Everything that a state says about a topic."""
    keys = {each.key: (each.value, each.until_ms) for each in topic.dedup.entries() if each.until_ms > now_ms}
    about = topic.number, topic.created_ms, topic.settings, topic.next_sequence
    return {"about": about, "subscriptions": dict(topic.subscriptions), "keys": keys}


def contents_of(state: State, now_ms: int) -> dict[str, Any]:
    """Everything that a state says at a moment, to compare with another."""
    return _at(
        state,
        now_ms,
        lambda queue: (
            *(queue.number, queue.created_ms, queue.settings),
            *(columns_of(queue.messages), lanes_of(queue.messages), dedup_entries_of(queue, now_ms)),
        ),
    )


def lanes_of(messages: Columns) -> list[tuple[int, int, str]]:
    """Return the lanes of a queue, sorted."""
    return sorted(lane.definition for lane in messages.lanes.by_number.values())


def dedup_entries_of(queue: Queue, now_ms: int) -> dict[str, Any]:
    """Return the dedup keys that a queue remembers, with their values and deadlines."""
    entries = queue.dedup.entries()
    return {each.key: (each.value, each.until_ms) for each in entries if each.until_ms > now_ms}


def state_view(state: State, now_ms: int) -> dict[str, Any]:
    """Everything that a state says at a moment but for how it keeps it, so that two may have come by different ways."""
    return _at(
        state,
        now_ms,
        lambda queue: {
            "number": queue.number,
            "created_ms": queue.created_ms,
            "settings": queue.settings,
            "next_sequence": queue.messages.next_sequence,
            "counts": queue.messages.counts[1:],
            "bytes": queue.messages.bytes,
            "oldest_ms": queue.messages.oldest_ms(),
            "ready": sorted(record.from_runs(queue.messages.pick(1 << 30, 1 << 60))),  # groups may take turns anew
            "messages": [view._replace(lane=0) for view in queue.messages.after(-1, 1 << 30)],
            "lanes": [queue.messages.lane_of(view) for view in queue.messages.after(-1, 1 << 30)],
            "remembered": dedup_entries_of(queue, now_ms),
        },
    )


def another_receipt(receipt: str) -> str:
    """A receipt of the same message for a claim that never was: its token has another last digit, whatever that is."""
    return receipt[:-1] + ("1" if receipt.endswith("0") else "0")
