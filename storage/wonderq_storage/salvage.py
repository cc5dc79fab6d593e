"""Reading a damaged log: find every record that still verifies, and report the bytes that do not.

`wonderq_storage.recovery` stops at the first damage; this module continues after it. Intact stretches are read by the
same `SegmentReader`. Where that stops, the next group header that verifies by itself shows where to continue. In
between, a record is accepted if it verifies from the checksum stored before it. So a damaged record or group header
costs only itself, as long as its own checksum and length are intact. If only one of these two is damaged, nothing is
lost. Bytes that the medium has lost are read as zeros (`wonderq_storage.bad_medium`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgpack

from wonderq_storage import frame, segment
from wonderq_storage.bad_medium import BadMediumDisk, UnusableFileError
from wonderq_storage.checksum import crc32
from wonderq_storage.errors import CorruptLogError
from wonderq_storage.recovery import Ending, Next, Verdict, decide
from wonderq_storage.segment import Segment, SegmentReader, pack_position

_CHUNK_BYTES = 1 << 20

#: First bytes that a payload may have: it is a msgpack array.
_ARRAYS = frozenset(bytes([first]) for first in (*range(0x90, 0xA0), 0xDC, 0xDD))


class Span(NamedTuple):
    """A range of bytes in a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length

    def __str__(self) -> str:
        return f"bytes {self.offset} to {self.end - 1}"


@dataclass
class Problem:
    """Damage in a file. ``offset`` is the byte at which a start of the broker would stop."""

    file: str
    offset: int
    reason: str
    lost: list[Span] = field(default_factory=list)
    """Unreadable ranges of this file. Empty if no record was lost, or if the whole file is missing."""
    missing: int = 0
    """Upper limit of the bytes lost outside the file: after a truncation, or the whole segment."""

    def __str__(self) -> str:
        where = f" (unreadable: {', '.join(map(str, self.lost))})" if self.lost else ""
        return f"{self.file}, byte {self.offset}: {self.reason}{where}"


class Found(NamedTuple):
    """A record that verifies, and its place."""

    path: Path
    segment: int
    offset: int
    """Offset of its payload in the file."""
    data: memoryview

    @property
    def position(self) -> int:
        return pack_position(self.segment, self.offset)


@dataclass
class SegmentSummary:
    """Summary of a segment file's contents."""

    number: int
    path: Path
    bytes: int
    state: str = "active"
    """``sealed``, ``active`` (written to but not sealed), or ``blank``."""
    groups: int = 0
    """Number of valid groups, seals and closing groups included."""
    records: int = 0
    used_bytes: int = 0
    """Size up to the end of its groups, header included."""


class Salvage:
    """One pass over a folder that the caller has locked. Nothing is changed.

    ``problems``, ``torn`` and ``segments`` are complete once `records` is read to its end. Until then ``problems``
    contains the damage before the last record yielded.

    Raises, from the constructor:
        UnsupportedFormatError: a newer WonderQ wrote the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = BadMediumDisk()
        self.problems: list[Problem] = []
        self.torn: Problem | None = None
        """A torn tail that a crash left. It was never acknowledged, so it is not a problem."""
        self.segments: list[SegmentSummary] = []
        self.base = 1
        """Oldest segment that belongs to the log, as its newest group records it."""
        self.missing_front = False
        """Whether segments are missing at the beginning of the log."""
        self._opened: list[Segment] = []
        self._headers: dict[int, list[Problem]] = {}  # by segment number: problems of whole files and headers
        self._reported: set[int] = set()  # numbers of segments whose problems in ``_headers`` were reported
        self._number: int | None = None
        self._chain: int | None = None
        try:
            self._survey()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for each in self._opened:
            each.file.close()

    @property
    def oldest(self) -> int | None:
        """Number of the oldest segment in the folder."""
        return self._opened[0].number if self._opened else None

    @property
    def capacity(self) -> int:
        """Capacity of the largest segment in bytes."""
        return max((each.header.capacity for each in self._opened), default=0)

    # Opening

    def _survey(self) -> None:
        names = self._disk.list(self._folder)
        files: dict[int, Segment] = {}  # by the number in the file's name
        unused: dict[int, str] = {}
        for number in sorted(number for name in names if (number := segment.file_number(name)) is not None):
            try:
                opened = self._open(self._folder / segment.file_name(number), number)
            except UnusableFileError as error:
                unused[number] = str(error)
                continue
            if opened is None:
                unused[number] = "the segment header does not verify, and no group in it does"
            else:
                files[number] = opened
        ids = Counter(each.header.log_id for each in files.values() if each.header.log_id)
        log_id = ids.most_common(1)[0][0] if ids else b""
        found: dict[int, Segment] = {}
        # If two files contain the same segment, the one with the right name and a valid header is used.
        second = [number for number, each in files.items() if each.number != number or not each.header.log_id]
        for number in (*(number for number in files if number not in second), *second):
            opened = files[number]
            if opened.header.log_id not in (b"", log_id):
                unused[number] = "the segment belongs to another log"
            elif opened.number in found:
                unused[number] = f"this is segment {opened.number}, which another file holds already"
            else:
                found[opened.number] = opened
        self._opened = [found[number] for number in sorted(found)]
        for number, reason in unused.items():
            self._leave_out(number, reason)

    def _report(self, path: Path, offset: int, reason: str, missing: int = 0) -> Problem:
        problem = Problem(str(path), offset, reason, missing=missing)
        self.problems.append(problem)
        return problem

    def _leave_out(self, number: int, reason: str) -> None:
        """Record why a file is not used. It is reported at the place of its segment."""
        path = self._folder / segment.file_name(number)
        size = path.stat().st_size if path.is_file() else 0
        lost = [Span(0, size)] if size else []
        if unreadable := self._disk.unreadable(path):
            reason += f"; {_cannot_be_read(unreadable)}"
        problem = Problem(str(path), 0, reason, lost, missing=max(self.capacity - size, 0))
        self._headers.setdefault(number, []).append(problem)

    def _open(self, path: Path, number: int) -> Segment | None:
        """Open a file as the segment it contains. Return None if nothing in it verifies."""
        try:
            return segment.open_segment(self._disk, path)
        except CorruptLogError as error:
            reason = error.reason
        file = self._disk.open(path)
        data = file.read(frame.SEGMENT_HEADER_BYTES, 0)
        header = frame.unpack_segment_header(data)
        if header is not None:  # valid, but the file has the name of another segment
            self._headers.setdefault(header.number, []).append(Problem(str(path), 0, reason))
            return Segment(file, header)
        # The groups show which is intact, the header or its checksum: they verify from one of the two.
        for seed in (int.from_bytes(data[-4:], "little"), crc32(data[:-4])):
            header = frame.SegmentHeader(frame.VERSION, number, b"", file.size(), 0, seed)
            if len(data) == frame.SEGMENT_HEADER_BYTES and _find_header(Segment(file, header), len(data)):
                problem = Problem(str(path), 0, reason, [Span(0, len(data))])
                self._headers.setdefault(number, []).append(problem)
                return Segment(file, header)
        file.close()
        return None

    # Walking

    def records(self) -> Iterator[Found]:
        """Yield every record that verifies, in order."""
        previous: Segment | None = None
        for index, current in enumerate(self._opened):
            if previous is None:
                self._report_files(min([current.number, *self._headers]), current.number)
                if current.number == 1:
                    self._number, self._chain = 1, 0
            elif current.number != previous.number + 1:
                self._report_missing(previous.number + 1, current.number)
                self._number = self._chain = None
            self._report_files(current.number, current.number + 1)
            yield from self._walk(current, self._opened[index + 1 :])
            self._report_unreadable(current.path)
            previous = current
        if previous is not None:
            following = previous.number + 1
            if self.segments[-1].state == "sealed" and following not in self._headers:
                missing = self._folder / segment.file_name(following)
                reason = f"the segment is missing, but {previous.path.name} is sealed"
                self._report(missing, 0, reason, missing=self.capacity)
            if self.base < self._opened[0].number:
                self.missing_front = True
                self._report_missing(self.base, self._opened[0].number)
        for number in sorted(self._headers):
            self.problems += self._headers[number]

    def _report_files(self, first: int, end: int) -> None:
        for number in sorted(self._headers):
            if first <= number < end:
                self.problems += self._headers.pop(number)
                self._reported.add(number)

    def _report_missing(self, first: int, end: int) -> None:
        for number in range(first, end):
            if number in self._headers:
                self._report_files(number, number + 1)
            elif number not in self._reported:
                path = self._folder / segment.file_name(number)
                self._report(path, 0, "the segment is missing", missing=self.capacity)

    def _report_unreadable(self, path: Path) -> None:
        """Report the bytes that the medium has lost. Zeros in their place may have passed for the end of the log."""
        unreadable = self._disk.unreadable(path)
        if unreadable:
            known = [span for each in self.problems if each.file == str(path) for span in each.lost]
            problem = self._report(path, unreadable[0][0], _cannot_be_read(unreadable))
            problem.lost += _without([Span(*each) for each in unreadable], known)

    def _walk(self, current: Segment, later: Sequence[Segment]) -> Iterator[Found]:
        file = current.file
        size = file.size()
        summary = SegmentSummary(current.number, current.path, size, used_bytes=frame.SEGMENT_HEADER_BYTES)
        self.segments.append(summary)
        at: int | None = frame.SEGMENT_HEADER_BYTES
        while at is not None:
            reader = SegmentReader(current, self._number, self._chain, at)
            for records in reader:
                summary.groups += 1
                summary.records += len(records)
                for offset, data in records:
                    yield Found(current.path, current.number, offset, data)
            self._number, self._chain = reader.number, reader.chain
            self.base = reader.base or self.base
            summary.used_bytes = reader.offset
            tail = segment.read_tail(current, reader.offset, reader.number or 0)
            if reader.sealed:
                summary.state = "sealed"
                if tail.end > reader.offset:
                    span = Span(reader.offset, tail.end - reader.offset)
                    self._report(current.path, reader.offset, "there are bytes behind the seal").lost.append(span)
                return
            if reader.problem is None and tail.end == reader.offset:
                self._end_unsealed(current, reader, size, later, summary)
                return
            resized = size != current.header.capacity
            # A tail that cannot be read may have been acknowledged.
            unreadable = any(sum(each) > reader.offset for each in self._disk.unreadable(current.path))
            proved = tail.proof is not None or unreadable
            if not resized and decide(Ending.DAMAGE, proved=proved, following=_following(later)) is Verdict.CUT:
                lost = [Span(reader.offset, tail.end - reader.offset)]
                self.torn = Problem(str(current.path), reader.offset, "a torn tail, which was never acknowledged", lost)
                return
            offset, reason = reader.offset, reader.problem or f"group {reader.number} is missing here"
            if resized and not proved:  # otherwise the segment may be sealed further on
                if reader.problem is None:
                    offset, reason = min(size, current.header.capacity), _resized(current, size)
                else:
                    reason += f"; {_resized(current, size)}"
            problem = self._report(current.path, offset, reason)
            at = None
            for piece in self._damaged(current, reader, tail.end, problem):
                if isinstance(piece, int):
                    at = summary.used_bytes = piece
                else:
                    summary.records += 1
                    yield piece
        # Nothing verifies after the last problem, so any first group of the next segment is accepted.
        problem.missing = max(current.header.capacity - tail.end, 0)
        self._number = self._chain = None

    def _end_unsealed(
        self, current: Segment, reader: SegmentReader, size: int, later: Sequence[Segment], summary: SegmentSummary
    ) -> None:
        if reader.offset == frame.SEGMENT_HEADER_BYTES:
            summary.state = "blank"
        if size != current.header.capacity:
            offset, reason = min(size, current.header.capacity), _resized(current, size)
        elif _following(later) is Next.USED:
            offset, reason = reader.offset, "the seal of this segment is missing"
        else:
            return
        self._report(current.path, offset, reason, missing=max(current.header.capacity - reader.offset, 0))
        self._number = self._chain = None

    def _damaged(self, current: Segment, reader: SegmentReader, end: int, problem: Problem) -> Iterator[Found | int]:
        """Yield the records in a damaged range, and finally the offset at which to continue, if there is one.

        ``end`` is the offset after the segment's last byte that is not zero.
        """
        at, seed = reader.offset, current.header.crc
        head = current.file.read(frame.GROUP_HEADER_BYTES, at)
        header = frame.unpack_group_header(head, 0, seed)
        size = current.file.size()
        if header is not None and header.offset == at:
            self._number, self._chain = header.number, None
            stop = at + frame.GROUP_HEADER_BYTES + header.length
            if reader.number not in (None, header.number) or reader.chain not in (None, header.chain):
                yield at  # not the expected group, but it may be valid
                return
            self._number = header.number + 1
            seeds: Sequence[int] = (header.crc,)
            after = current.file.read(frame.GROUP_HEADER_BYTES, stop)
            next_header = frame.unpack_group_header(after, 0, seed)
            resume_at = stop if stop < size else None
            stop = min(stop, size)
        else:
            self._number = self._chain = None
            next_header = _find_header(current, at + 1)
            seeds = (int.from_bytes(head[:4], "little"), crc32(head[4:], seed))
            stop = size if next_header is None else next_header.offset
            resume_at = None if next_header is None else stop
            problem.lost.append(Span(at, min(frame.GROUP_HEADER_BYTES, stop - at)))
        start = at + frame.GROUP_HEADER_BYTES
        data = memoryview(current.file.read(max(stop - start, 0), start))
        chain = next_header.chain if next_header else None
        # A frame may end in zeros after the last byte that is not zero, but no frame begins there.
        for piece in _frames(data, seeds, chain, min(stop, max(end, start)) - start):
            if isinstance(piece, Span):
                _add(problem.lost, Span(start + piece.offset, piece.length))
            else:
                offset, record = piece
                yield Found(current.path, current.number, start + offset, record)
        if resume_at is not None:
            yield resume_at


def _resized(current: Segment, size: int) -> str:
    return f"the file is {size} bytes long, was created with {current.header.capacity}, and has no seal"


def _cannot_be_read(ranges: Sequence[tuple[int, int]]) -> str:
    return f"the disk cannot read {sum(length for _, length in ranges)} bytes of this file"


def _without(spans: Sequence[Span], known: Sequence[Span]) -> list[Span]:
    """Return the parts of spans that are in none of the known ones."""
    for other in known:
        before = [(each.offset, min(each.end, other.offset)) for each in spans]
        behind = [(max(each.offset, other.end), each.end) for each in spans]
        spans = sorted(Span(start, end - start) for start, end in before + behind if start < end)
    return list(spans)


def _find_header(current: Segment, at: int) -> frame.GroupHeader | None:
    """Return the first group header at or after ``at`` that verifies by itself."""
    file, seed = current.file, current.header.crc
    while data := file.read(_CHUNK_BYTES + frame.GROUP_HEADER_BYTES, at):
        best: frame.GroupHeader | None = None
        for kind in frame.KIND_BYTES.values():
            found = data.find(kind, 4)
            while found >= 0:
                header = frame.unpack_group_header(data, found - 4, seed)
                if header is not None and header.offset == at + found - 4:
                    if best is None or header.offset < best.offset:
                        best = header
                    break
                found = data.find(kind, found + 1)
        if best is not None:
            return best
        at += _CHUNK_BYTES
    return None


def _following(later: Sequence[Segment]) -> Next:
    if not later:
        return Next.MISSING
    return Next.BLANK if len(later) == 1 and segment.is_blank(later[0]) else Next.USED


def _add(spans: list[Span], span: Span) -> None:
    """Append a span, merged with the last one if they adjoin."""
    if spans and spans[-1].end == span.offset:
        spans[-1] = Span(spans[-1].offset, spans[-1].length + span.length)
    else:
        spans.append(span)


def _frames(
    data: memoryview, seeds: Sequence[int], chain: int | None, until: int
) -> Iterator[tuple[int, memoryview] | Span]:
    """Split frames, some of them damaged, into records ``(offset, bytes)`` and spans that do not verify.

    The first frame's checksum starts from one of ``seeds``. ``chain`` is the checksum of the last frame, if known. No
    frame begins at or after ``until``.
    """
    at = 0
    doubtful: tuple[int, int, int] | None = None  # a frame that did not verify: start, end, computed checksum
    while at < until:
        found = _verified(data, at, seeds)
        if found is None:
            if doubtful is not None:
                yield Span(doubtful[0], doubtful[1] - doubtful[0])
            stop = _damaged_end(data, at, seeds)
            if stop is None:
                yield Span(at, until - at)
                return
            stored = int.from_bytes(data[at : at + 4], "little")
            computed = crc32(data[at + 4 : stop], seeds[0])
            doubtful = (at, stop, computed)
            seeds, at = (stored, computed), stop
            continue
        stop, seed = found
        if doubtful is not None:
            yield _resolve_doubtful(data, doubtful, whole=seed == doubtful[2])
            doubtful = None
        yield at + frame.FRAME_BYTES, data[at + frame.FRAME_BYTES : stop]
        seeds, at = (int.from_bytes(data[at : at + 4], "little"),), stop
    if doubtful is not None:
        yield _resolve_doubtful(data, doubtful, whole=chain == doubtful[2])


def _resolve_doubtful(
    data: memoryview, doubtful: tuple[int, int, int], *, whole: bool
) -> tuple[int, memoryview] | Span:
    """Return a frame that did not verify as a record if it is intact, or else as a span.

    It is ``whole`` if the next frame is chained to the checksum of its bytes: then only its stored checksum is damaged.
    """
    at, stop, _ = doubtful
    return (at + frame.FRAME_BYTES, data[at + frame.FRAME_BYTES : stop]) if whole else Span(at, stop - at)


def _possible_ends(data: memoryview, at: int) -> Iterator[int]:
    """Yield the offsets at which a frame may end: by its length field and, in case that is damaged, by its payload."""
    if len(data) - at < frame.FRAME_BYTES or not any(data[at : at + frame.FRAME_BYTES]):
        return  # a run of zeros is a hole in the file, not a sequence of empty frames
    stated_end = at + frame.FRAME_BYTES + int.from_bytes(data[at + 4 : at + 8], "little")
    if stated_end <= len(data):
        yield stated_end
    if data[at + frame.FRAME_BYTES : at + frame.FRAME_BYTES + 1].tobytes() not in _ARRAYS:
        return
    unpacker = msgpack.Unpacker()
    try:
        unpacker.feed(data[at + frame.FRAME_BYTES :])
        unpacker.skip()
    except Exception:  # noqa: BLE001 - the unpacker raises many kinds of errors for invalid bytes
        return
    stop = at + frame.FRAME_BYTES + unpacker.tell()
    if stop != stated_end:
        yield stop


def _verified(data: memoryview, at: int, seeds: Sequence[int]) -> tuple[int, int] | None:
    """Return the end of the frame at ``at``, and the seed from which it verifies, or None."""
    stored = int.from_bytes(data[at : at + 4], "little")
    for stop in _possible_ends(data, at):
        length = (stop - at - frame.FRAME_BYTES).to_bytes(4, "little")
        for seed in seeds:
            if crc32(data[at + frame.FRAME_BYTES : stop], crc32(length, seed)) == stored:
                return stop, seed
    return None


def _damaged_end(data: memoryview, at: int, seeds: Sequence[int]) -> int | None:
    """Return the probable end of a damaged frame, preferably one at which a valid frame begins."""
    stored = int.from_bytes(data[at : at + 4], "little")
    stops = list(_possible_ends(data, at))
    for stop in stops:
        if _verified(data, stop, (stored, crc32(data[at + 4 : stop], seeds[0]))):
            return stop
    return stops[0] if stops else None
