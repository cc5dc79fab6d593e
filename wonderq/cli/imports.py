"""The numbers of things that an import has made, as commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wonderq.terminal import counted

if TYPE_CHECKING:  # a command imports what it needs when it runs
    from wonderq.folder.import_ import Importer


def import_object(importer: Importer) -> dict[str, int]:
    """Return the number of imported things as a JSON object."""
    names = ("messages", "queues", "topics", "schedules")
    return {name: getattr(importer, name) for name in names}


def import_line(importer: Importer) -> str:
    """Return the number of imported things as a sentence, without topics and schedules if there are none."""
    line = f"{counted(importer.messages, 'message')} and {counted(importer.queues, 'queue')} imported"
    further = [counted(importer.topics, "topic")] if importer.topics else []
    further += [counted(importer.schedules, "schedule")] if importer.schedules else []
    return line + "".join(f", and {each}" for each in further)
