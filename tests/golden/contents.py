"""All that a folder says, as plain values that JSON can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage import Checkpoints, FileLog, record
from wonderq.page import MessageView
from wonderq.rebuild import rebuild
from wonderq.state import Queue


def contents_of(folder: Path, now_ms: int, *, checkpoints: bool) -> tuple[dict[str, Any], int]:
    """Return what it says as of ``now_ms``, and how many bytes of records were read for it. For a copy: it starts the log."""
    log = FileLog(folder, segment_bytes=4096)
    try:
        state, read_bytes = rebuild(log, Checkpoints(folder) if checkpoints else None)
        log.start()  # so that bodies can be read
        for queue in state.queues.values():
            queue.messages.advance(now_ms)
        return {
            "key": state.key.hex() if state.key else None,
            "next_queue": state.next_queue,
            "last_ms": state.last_ms,
            "queues": {name: _queue(log, queue) for name, queue in sorted(state.queues.items())},
        }, read_bytes
    finally:
        log.close()


def _queue(log: FileLog, queue: Queue) -> dict[str, Any]:
    return {
        "number": queue.number,
        "created_ms": queue.created_ms,
        "settings": queue.settings.to_record(),
        "next_sequence": queue.messages.next_sequence,
        "messages": [_message(log, view) for view in queue.messages.after(-1, 1 << 30)],
    }


def _message(log: FileLog, view: MessageView) -> dict[str, Any]:
    (entry,) = log.read([(view.position, view.length)])
    fields = view._asdict()
    del fields["position"]
    return {**fields, "body": record.decode_entry(entry)}
