"""Helpers for the tests of compact, backup and restore: folders with a long history, and their contents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.states import state_view
from wonderq.broker.broker import Broker
from wonderq.folder.compact import Outcome, compact
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy, disk

LATE_MS = 1 << 50


@contextmanager
def opened(folder: Path, *, segment_bytes: int = 4096, clock: FakeClock | None = None) -> Iterator[Broker]:
    """A broker on the folder, without a server."""
    log = FileLog(folder, sync=SyncPolicy("os"), segment_bytes=segment_bytes)
    try:
        yield Broker(log, checkpoints=FileCheckpoints(folder), clock=clock or FakeClock())
    finally:
        log.close()


def says(state: State, now_ms: int) -> dict[str, Any]:
    """Everything that a state says at a moment but for where in the log it lies, and when that was last written to."""
    said = state_view(state, now_ms)
    del said["last_ms"]
    for queue in said["queues"].values():
        queue["messages"] = [view._replace(position=0) for view in queue["messages"]]
    return said


def state_view_in(folder: Path, now_ms: int = LATE_MS, *, with_checkpoints: bool = False) -> dict[str, Any]:
    """Return the contents of a log at a moment, and change nothing."""
    log = FileLog(folder)
    try:
        state, _ = replay_log(log, FileCheckpoints(folder) if with_checkpoints else None)
    finally:
        log.close()
    return says(state, now_ms)


def bodies_in(folder: Path, queue: str = "default") -> list[str]:
    """The bodies in a log, as a broker gives them out."""
    with opened(folder, segment_bytes=1 << 20) as broker:
        return [message.body for message in broker.messages(queue)]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def compact_anyhow(folder: Path) -> Outcome:
    """Compact also a folder of some KiB, to whose size the new segment adds more than is saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outcome, "worth_it", True)
        return compact(folder)


class CrashError(OSError):
    """The process would have ended here."""


@contextmanager
def crash_at(step: int, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...]) -> Iterator[None]:
    """Let those calls to the operating system fail from the one with that number on: nothing more gets to the disk."""
    count = 0

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count >= step:
                raise CrashError(5, "the process ends here")
            return call(*arguments)

        return counted

    with monkeypatch.context() as patch:
        for name in calls:
            place: Any = os if hasattr(os, name) else disk
            instead = name if place is os else "flush_to_medium"  # what syncs where there is no fdatasync
            patch.setattr(place, instead, failing(getattr(place, instead)))
        yield
