"""A queue setting belongs to a format version: a program of an older version refuses a log with a setting that it does not know.

docs/ARCHITECTURE.md, "A new queue setting", has the steps that follow a failure here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from wonderq.model.settings import QueueSettings
from wonderq.state import record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import frame

#: Settings, with their defaults, that each format version added to those of the version before. A released row never changes.
ADDED: dict[int, dict[str, Any]] = {
    1: {
        "visibility_timeout_ms": 30_000,
        "delay_ms": 0,
    },
    2: {
        "retention_ms": 0,
        "max_messages": 0,
        "max_bytes": 0,
        "max_message_bytes": 0,
        "max_receives": 0,
        "dead_letter_queue": "",
        "paused": False,
        "draining": False,
        "content_deduplication": False,
        "deduplication_window_ms": 300_000,
        "deduplication_per_group": False,
        "max_in_flight": 0,
        "max_in_flight_per_group": 0,
        "max_claims_per_second": 0,
        "max_claims_per_second_per_group": 0,
        "tags": {},
        "sqs": {},
    },
}

RECIPE = 'Follow the recipe "A new queue setting" in docs/ARCHITECTURE.md'


def known_to(version: int) -> dict[str, Any]:
    """Return the settings that a program of this format version knows, with their defaults."""
    return {name: default for each in range(1, version + 1) for name, default in ADDED.get(each, {}).items()}


def test_the_settings_are_those_of_the_format_version() -> None:
    settings, known = asdict(QueueSettings()), known_to(frame.VERSION)
    changed = sorted(settings.keys() ^ known.keys())
    assert not changed, (
        f"Format version {frame.VERSION} does not have exactly these settings: {', '.join(changed)} differ. A program that was "
        f"released with this version could not read the log, and would call it damaged. {RECIPE}."
    )


def test_the_defaults_are_those_of_the_format_version() -> None:
    """A QUEUE record leaves out a setting that has its default, so a changed default changes the queues of existing logs."""
    settings, known = asdict(QueueSettings()), known_to(frame.VERSION)
    changed = sorted(name for name in settings.keys() & known.keys() if settings[name] != known[name])
    assert not changed, (
        f"The defaults of {', '.join(changed)} differ from those of format version {frame.VERSION}. Existing logs omit a "
        f"setting that has its default, so their queues would change. Keep the default, or add another setting. {RECIPE}."
    )


def test_a_setting_of_a_later_version_is_refused() -> None:
    later = record.DefineQueue(record.QUEUE, 1, 1, "q", {"setting_of_a_later_version": 1}, 1, 0)
    with pytest.raises(UnreadableRecordError, match="setting_of_a_later_version"):
        State().apply(later, 0, 0)
