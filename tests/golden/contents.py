"""Contents of a folder as plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue
from wonderq.state.topics import Topic
from wonderq_storage import FileCheckpoints, FileLog


def contents_of(folder: Path, now_ms: int, *, checkpoints: bool) -> tuple[dict[str, Any], int]:
    """Return what it says as of ``now_ms``, and how many bytes of records were read for it. For a copy: it starts the log."""
    log = FileLog(folder, segment_bytes=4096)
    try:
        state, read_bytes = replay_log(log, FileCheckpoints(folder) if checkpoints else None)
        log.start()  # so that bodies can be read
        for queue in state.queues.values():
            queue.messages.advance(now_ms)
        return {
            "key": state.key.hex() if state.key else None,
            "next_queue": state.next_queue,
            "last_ms": state.last_ms,
            "notes": {
                space: {name: note.value for name, note in notes.items()} for space, notes in state.metadata.items()
            },
            "queues": {name: _queue(log, queue) for name, queue in sorted(state.queues.items())},
            "topics": {name: _topic(topic) for name, topic in sorted(state.topics.items())},
        }, read_bytes
    finally:
        log.close()


def _topic(topic: Topic) -> dict[str, Any]:
    return {
        "number": topic.number,
        "created_ms": topic.created_ms,
        "settings": asdict(topic.settings),
        "next_sequence": topic.next_sequence,
        "remembered": {each.key: [each.value, each.until_ms] for each in sorted(topic.dedup.entries())},
        "subscriptions": {name: each.to_record() for name, each in sorted(topic.subscriptions.items())},
    }


def _queue(log: FileLog, queue: Queue) -> dict[str, Any]:
    return {
        "number": queue.number,
        "created_ms": queue.created_ms,
        "settings": asdict(queue.settings),
        "next_sequence": queue.messages.next_sequence,
        "remembered": {each.key: [each.value, each.until_ms] for each in sorted(queue.dedup.entries())},
        "messages": [_message(log, queue, view) for view in queue.messages.after(-1, 1 << 30)],
    }


def _message(log: FileLog, queue: Queue, view: MessageView) -> dict[str, Any]:
    (entry,) = log.read([(view.position, view.length)])
    fields = view._asdict()
    for name in ("position", "lane"):
        del fields[name]
    priority, group = queue.messages.lane_of(view)
    body, headers = record.decode_entry(entry)
    consumer = queue.messages.consumer_of(view)
    return {
        **fields,
        "consumer": consumer,
        "priority": priority,
        "group": group,
        "body": body,
        "carried": _for_json(headers),
    }


def _for_json(value: Any) -> Any:
    """Write bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _for_json(each) for key, each in value.items()}
    return [_for_json(each) for each in value] if isinstance(value, list) else value
