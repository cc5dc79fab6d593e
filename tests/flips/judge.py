"""Verdict on a damaged folder: the damage is noticed, or clients see no change. Anything else is a bug."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from tests.support.crash_disk import Files
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from tests.support.small_folder import SEGMENT_BYTES, SmallFolder, open_log
from tests.support.states import state_view
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq_storage import CorruptLogError, DamagedCheckpointError, FileCheckpoints
from wonderq_storage.segment import file_name


class Fate(enum.Enum):
    """Outcome of damage."""

    REFUSED = "the start is refused, with file and offset"
    FOUND_ON_READING = "a body does not verify when it is read; the rest is unchanged"
    FOUND_BY_A_FULL_READ = "a checkpoint spares the start that part of the log; nothing is changed, and verify finds it"
    PASSED_OVER = "a checkpoint that does not verify; nothing is changed"
    SET_ASIDE = "cut like a torn tail and set aside; nothing is changed"
    UNDECIDABLE = "the newest group is cut like a torn write, and set aside"
    HARMLESS = "a file that no start needs; nothing is changed"


class UnnoticedError(AssertionError):
    """Damage changed something and was not noticed, or was noticed in the wrong place."""


class Sight(NamedTuple):
    """Everything that clients can see of a folder."""

    said: dict[str, Any]
    """Queues, settings, counts, and of each message all but its body."""
    bodies: list[tuple[str, dict[str, Any]]]
    torn_bytes: int
    """Size of the tail that a start would cut."""


def look(files: Files, now_ms: int) -> Sight:
    """See what a start on these files would show.

    Raises:
        CorruptLogError: the start is refused. Nothing was changed.
        ValueError: a body does not verify.
    """
    disk = ForgetfulDisk(files)
    log = open_log(disk)
    try:
        state, _ = replay_log(log, FileCheckpoints(FOLDER, disk))
        said = state_view(state, now_ms)
        torn_bytes = log.torn_bytes
    finally:
        log.close()
        if disk.files() != files:
            raise UnnoticedError("reading the folder changed it")
    views = [view for _, queue in sorted(said["queues"].items()) for view in queue["messages"]]
    return Sight(said, [record.decode_entry(_entry(files, view.position, view.length)) for view in views], torn_bytes)


def _entry(files: Files, position: int, length: int) -> bytes:
    offset = position & 0xFFFF_FFFF
    return files[file_name(position >> 32)][offset : offset + length]


class Judge:
    """Knows what a whole folder shows, and judges damaged copies of it."""

    def __init__(self, folder: SmallFolder) -> None:
        self.folder = folder
        self.whole = look(folder.files, folder.now_ms)
        self.before = look(folder.before, folder.now_ms)

    def flip(self, name: str, at: int, bit: int) -> Fate:
        """Judge a flipped bit.

        Raises:
            UnnoticedError: it changed something in silence, or was found where it is not.
        """
        data = self.folder.files[name]
        damaged = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        try:
            return self._flipped(name, at, {**self.folder.files, name: damaged})
        except UnnoticedError as error:
            raise UnnoticedError(f"{name}, byte {at}, bit {bit}: {error}") from error

    def _flipped(self, name: str, at: int, files: Files) -> Fate:
        may_be_torn = name == self.folder.segments[-1] and at >= self.folder.last_group
        try:
            sight = look(files, self.folder.now_ms)
        except CorruptLogError as error:
            if not name.endswith(".wal") or may_be_torn or error.file != str(FOLDER / name) or error.offset > at:
                raise UnnoticedError(f"the start was refused for another reason: {error}") from error
            return Fate.REFUSED
        except ValueError:
            if may_be_torn or not self._full_read_is_refused(name, at, files):
                raise UnnoticedError("a body does not verify, and the log does") from None
            return Fate.FOUND_ON_READING
        if sight.torn_bytes:
            if not may_be_torn:
                raise UnnoticedError("durable records were taken for a torn tail")
            return self._cut(files, sight)
        if sight != self.whole:
            raise UnnoticedError("something else is seen, in silence")
        if name.endswith(".ckpt"):
            if not _is_damaged_checkpoint(files, name):
                raise UnnoticedError("the checkpoint still verifies")
            return Fate.PASSED_OVER
        if name.endswith(".wal"):
            if not self._full_read_is_refused(name, at, files):
                raise UnnoticedError("the log still verifies")
            return Fate.FOUND_BY_A_FULL_READ
        return Fate.HARMLESS

    def _full_read_is_refused(self, name: str, at: int, files: Files) -> bool:
        error = _full_read(files)
        return error is not None and error.file == str(FOLDER / name) and error.offset <= at

    def _cut(self, files: Files, sight: Sight) -> Fate:
        """Judge what is taken for a torn tail: a start sets it aside, byte for byte, and goes on without it."""
        name, disk = self.folder.segments[-1], ForgetfulDisk(files)
        log = open_log(disk)
        try:
            replay_log(log, FileCheckpoints(FOLDER, disk))
            log.start()
            left = disk.files()
        finally:
            log.close()
        torn = {path: data for path, data in left.items() if path.startswith("torn/")}
        if len(torn) != 1:
            raise UnnoticedError("the torn tail was not set aside")
        [(path, data)] = torn.items()
        begins = int(path.split("-")[1])
        if data != files[name][begins:].rstrip(b"\0") or left[name] != files[name][:begins].ljust(SEGMENT_BYTES, b"\0"):
            raise UnnoticedError("what was set aside is not what was cut")
        again = look({path: data for path, data in left.items() if "/" not in path}, self.folder.now_ms)
        if (again.said, again.bodies, again.torn_bytes) != (sight.said, sight.bodies, 0):
            raise UnnoticedError("the next start shows something else")
        if again == self.whole:
            return Fate.SET_ASIDE
        if again == self.before:
            return Fate.UNDECIDABLE
        raise UnnoticedError("more was cut than the newest group")

    def files(self, files: Files) -> Fate:
        """Judge a folder of which whole files are damaged, missing, doubled or under another name.

        Raises:
            UnnoticedError: that changed something in silence.
        """
        try:
            sight = look(files, self.folder.now_ms)
        except CorruptLogError:
            return Fate.REFUSED
        except ValueError:
            return Fate.FOUND_ON_READING
        if sight.torn_bytes:
            return self._cut(files, sight)
        if sight != self.whole:
            raise UnnoticedError("something else is seen, in silence")
        if all(_same(files.get(name, b""), self.folder.files[name]) for name in self.folder.segments):
            return Fate.HARMLESS
        if _full_read(files) is None:
            raise UnnoticedError("the log still verifies")
        return Fate.FOUND_BY_A_FULL_READ


def _same(data: bytes, other: bytes) -> bool:
    """Return whether two segment files are equal except for the zeros behind a seal."""
    return data.rstrip(b"\0") == other.rstrip(b"\0")


def _full_read(files: Files) -> CorruptLogError | None:
    """Read a log without its checkpoints; returns why it is refused, or None."""
    log = open_log(ForgetfulDisk(files))
    try:
        replay_log(log)
    except CorruptLogError as error:
        return error
    else:
        return None
    finally:
        log.close()


def _is_damaged_checkpoint(files: Files, name: str) -> bool:
    try:
        _, chunks = FileCheckpoints(FOLDER, ForgetfulDisk(files)).read(FOLDER / name)
        for _ in chunks:
            pass
    except (DamagedCheckpointError, ValueError, TypeError):
        return True
    return False
