"""Writes the golden folders of the format that this tree writes, and beside each what is in it:

    python -m tests.golden.write

They are committed once for each format version, and a checkpoint for each layout of checkpoints, and never written again: a log that was written by a release has to be
read by every later one.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.golden.contents import contents_of
from tests.support.history_of_all_kinds import Writer
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.state.state import LAYOUT
from wonderq_storage import frame

FOLDER = Path(__file__).parent / f"format-{frame.VERSION}"
HOUR_MS = 3_600_000


def plain(folder: Path) -> int:
    writer = Writer(folder, 1)
    writer.write_history(14)
    return writer.close()


def with_checkpoint(folder: Path) -> int:
    writer = Writer(folder, 2)
    writer.write_history(6)
    for _ in range(2):
        assert compact_oldest(writer.broker, writer.log)
    checkpoint(writer.broker, writer.log, writer.checkpoints)
    writer.write_history(3)
    checkpoint(writer.broker, writer.log, writer.checkpoints)
    writer.write_history(2)
    return writer.close()


def trimmed(folder: Path) -> int:
    writer = Writer(folder, 3)
    writer.write_history(10)
    for _ in range(3):
        assert compact_oldest(writer.broker, writer.log)
    checkpoint(writer.broker, writer.log, writer.checkpoints)
    writer.write_history(2)
    assert compact_oldest(writer.broker, writer.log)
    return writer.close()


def main() -> int:
    """Write the folders that are missing."""
    written = 0
    FOLDER.mkdir(exist_ok=True)
    folders = {"plain": plain, f"with-checkpoint-{LAYOUT}": with_checkpoint, "trimmed": trimmed}
    for name, write in folders.items():
        folder = FOLDER / name
        if folder.exists():
            print(f"{folder} is there: what a release wrote is never written again", file=sys.stderr)
            continue
        now_ms = write(folder)
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "copy"
            shutil.copytree(folder, copy)
            contents, _ = contents_of(copy, now_ms, checkpoints=False)
        expected = {"as_of_ms": now_ms, **contents}
        folder.with_suffix(".json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
        written += 1
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
