"""The messages of one queue, in pages: lookup, scans and snapshots."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence

from wonderq.model.status import GONE
from wonderq.model.times import Period
from wonderq.state.page import PAGE_BITS, MessageColumns, MessageView, Page
from wonderq.state.record import Runs, to_runs

_GONE_BYTE = bytes([GONE])


class MessageTable:
    """Pages of one queue. `wonderq.state.columns.Columns` adds the operations that change messages.

    A snapshot shares the pages (`freeze`). A frozen page is copied before it is changed (`_writable`).
    """

    def __init__(self) -> None:
        self._pages: dict[int, Page] = {}  # by first sequence >> PAGE_BITS, ascending
        # Numbers of the sparse pages, ascending. A sparse page has all messages up to its end, also those of later
        # page numbers, which then have no page of their own.
        self._sparse: list[int] = []

    # One message

    def find(self, sequence: int) -> MessageView | None:
        """Return one message, or None if it was deleted or never existed."""
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None or page.sequences is not None:
            page, index = self._sparse_place(sequence)
        else:
            index = sequence - page.first
        if page is None or not 0 <= index < len(page.status) or page.status[index] == GONE:
            return None
        return page.view(index)

    def _status_of(self, sequence: int) -> int:
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None or page.sequences is not None:
            page, index = self._sparse_place(sequence)
        else:
            index = sequence - page.first
        return page.status[index] if page is not None and 0 <= index < len(page.status) else GONE

    def _receives_of(self, sequence: int) -> int:
        """Return how often a message was claimed, which must exist."""
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None or page.sequences is not None:
            page, index = self._sparse_place(sequence)
            assert page is not None
        else:
            index = sequence - page.first
        return page.receives[index] if index < len(page.receives) else 0

    def _place_of(self, sequence: int) -> tuple[Page | None, int]:
        """Return the page of a message, which may be changed, and the index in it; None if there is no such message."""
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None or page.sequences is not None:
            page, index = self._sparse_place(sequence)
        else:
            index = sequence - page.first
        if page is None or not 0 <= index < len(page.status) or page.status[index] == GONE:
            return None, -1
        return self._writable(page), index

    def _length_of(self, sequence: int) -> int:
        """Return the bytes of the entry of a message, which must exist."""
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None or page.sequences is not None:
            page, index = self._sparse_place(sequence)
            assert page is not None
            return page.length[index]
        return page.length[sequence - page.first]

    def _sparse_place(self, sequence: int) -> tuple[Page | None, int]:
        """Return the sparse page that has a message, and its index; None if none has it."""
        page = self._sparse_page(sequence >> PAGE_BITS)
        if page is not None:
            index = page.index(sequence)
            if index < len(page.status) and page.sequence(index) == sequence:
                return page, index
        return None, -1

    # Messages of runs

    def columns(self, runs: Runs) -> MessageColumns:
        """Return the fields of the messages of runs, at least one, all of which must exist."""
        parts = [page.columns(start, stop) for page, start, stop in self._slices(runs)]
        return parts[0] if len(parts) == 1 else MessageColumns.join(parts)

    def are_claimed(self, runs: Runs, tokens: Sequence[int]) -> bool:
        """Return whether all messages of the runs exist and have these tokens, one per message."""
        passed = 0
        for page, start, stop in self._slices(runs):
            expected = array("I", tokens[passed : passed + stop - start])
            if page.token[start:stop] != expected or page.status.find(GONE, start, stop) >= 0:
                return False
            passed += stop - start
        return passed == len(tokens)

    def produced_ms(self, runs: Runs) -> array[int]:
        """Return the times at which the messages of runs were produced. All messages must exist."""
        times = array("q")
        for page, start, stop in self._slices(runs):
            times += page.produced_ms[start:stop]
        return times

    def find_at_positions(self, runs: Runs, positions: array[int]) -> Iterator[tuple[int, int, int]]:
        """Find the messages of runs whose entries are at the given positions of the log, one position per message.

        A message that was deleted, or rewritten elsewhere, is left out. Yields neighbouring messages together: the
        index of the first one among all messages of the runs, its sequence number, and the number of messages.
        """
        passed = 0
        for at in range(0, len(runs), 2):
            first, count = runs[at], runs[at + 1]
            for page, start, stop in self._slices((first, count)):
                if page.sequences is not None:
                    for index in range(start, stop):
                        sequence = page.sequences[index]
                        place = passed + sequence - first
                        if page.position[index] == positions[place] and page.status[index] != GONE:
                            yield place, sequence, 1
                    continue
                index = passed + page.first + start - first
                expected = positions[index : index + stop - start]
                if page.position[start:stop] == expected and page.status.find(GONE, start, stop) < 0:
                    yield index, page.first + start, stop - start
                    continue
                found = to_runs(
                    offset
                    for offset, position in enumerate(expected)
                    if page.position[start + offset] == position and page.status[start + offset] != GONE
                )
                for each in range(0, len(found), 2):
                    yield index + found[each], page.first + start + found[each], found[each + 1]
            passed += count

    # Scans

    def after(self, sequence: int, limit: int, status: int | None = None) -> list[MessageView]:
        """Return up to ``limit`` messages with larger sequence numbers, ascending.

        With ``status``, return only messages that have it.
        """
        found: list[MessageView] = []
        for number, page in self._pages.items():
            if (number < (sequence + 1) >> PAGE_BITS and page.sequences is None) or not page.live:
                continue
            index = page.index(sequence + 1)
            while (index := page.next_index(index, status)) >= 0:
                found.append(page.view(index))
                if len(found) == limit:
                    return found
                index += 1
        return found

    def before(self, sequence: int, limit: int, status: int | None = None) -> list[MessageView]:
        """Return up to ``limit`` messages with smaller sequence numbers, descending.

        With ``status``, return only messages that have it.
        """
        found: list[MessageView] = []
        for page in reversed(self._pages.values()):
            if page.first >= sequence or not page.live:
                continue
            index = min(page.index(sequence), len(page.status))
            while (index := page.previous_index(index, status)) >= 0:
                found.append(page.view(index))
                if len(found) == limit:
                    return found
        return found

    def pass_pages(self, sequence: int, produced: Period, most: int, *, newest_first: bool) -> int:
        """Return a sequence number that a scan may go on from: no message up to it was produced in the period.

        This looks at up to ``most`` pages, each as a whole. Times need not ascend with sequence numbers.
        """
        pages = reversed(self._pages.values()) if newest_first else iter(self._pages.values())
        for page in pages:
            if (page.first >= sequence if newest_first else page.end <= sequence + 1) or not page.status:
                continue
            if not most or produced.overlaps(min(page.produced_ms), max(page.produced_ms)):
                break
            most -= 1
            sequence = page.first if newest_first else page.end - 1
        return sequence

    def walk(self, chunk_messages: int) -> Iterator[list[MessageView]]:
        """Yield all messages, ascending, in lists of at most ``chunk_messages``.

        Messages may be changed, added and deleted between two lists.
        """
        sequence = -1
        while views := self.after(sequence, chunk_messages):
            yield views
            sequence = views[-1].sequence

    def any_before(self, position: int) -> bool:
        """Return whether the entry of any message lies before a position of the log."""
        return any(
            entry_position < position and status != GONE
            for page in self._pages.values()
            if page.live and min(page.position) < position
            for entry_position, status in zip(page.position, page.status, strict=True)
        )

    def oldest_ms(self) -> int | None:
        """Return the time at which the oldest message was produced, or None in an empty queue."""
        for page in self._pages.values():
            if page.live:
                return page.produced_ms[len(page.status) - len(page.status.lstrip(_GONE_BYTE))]
        return None

    # Pages

    def _slices(self, runs: Sequence[int]) -> Iterable[tuple[Page, int, int]]:
        """Split runs at page borders: return each page, the first index, and the index after the last.

        Sequence numbers without a page are left out.
        """
        if len(runs) == 2:  # most calls, in a third of the time
            first, count = runs
            page = self._pages.get(first >> PAGE_BITS)
            if page is not None and page.sequences is None:
                start = first - page.first
                stop = start + count
                if 0 <= start < stop <= len(page.status):
                    return ((page, start, stop),)
        return self._split(runs)

    def _split(self, runs: Sequence[int]) -> Iterator[tuple[Page, int, int]]:
        """Do what `_slices` does for any runs."""
        for at in range(0, len(runs), 2):
            sequence = runs[at]
            end = sequence + runs[at + 1]
            while sequence < end:
                number = sequence >> PAGE_BITS
                stop = min(end, (number + 1) << PAGE_BITS)
                page = self._pages.get(number)
                if page is None or page.sequences is not None:
                    page = self._sparse_page(number)
                    if page is not None:
                        stop = max(stop, min(end, page.end))
                        start, page_stop = page.index(sequence), page.index(stop)
                        if start < page_stop:
                            yield page, start, page_stop
                else:
                    start, page_stop = max(sequence - page.first, 0), min(stop - page.first, len(page.status))
                    if start < page_stop:
                        yield page, start, page_stop
                sequence = stop

    def _live_slices(self, runs: Sequence[int]) -> Iterator[tuple[Page, int, int]]:
        """Split runs like `_slices`, without the deleted messages. The pages may be changed."""
        for found, start, stop in self._slices(runs):
            page = self._writable(found)
            if page.status.find(GONE, start, stop) < 0:
                yield page, start, stop
                continue
            parts = to_runs(index for index in range(start, stop) if page.status[index] != GONE)
            for at in range(0, len(parts), 2):
                yield page, parts[at], parts[at] + parts[at + 1]

    def _sparse_page(self, number: int) -> Page | None:
        """Return the sparse page that has the messages of a page number, or None."""
        at = bisect_right(self._sparse, number) - 1
        if at < 0:
            return None
        page = self._pages[self._sparse[at]]
        return page if number <= (page.end - 1) >> PAGE_BITS else None

    def _add_page(self, page: Page) -> None:
        """Add a page whose number has none."""
        number = page.first >> PAGE_BITS
        is_last = number > next(reversed(self._pages), -1)
        self._pages[number] = page
        if page.sequences is not None:
            insort(self._sparse, number)
        if not is_last:
            ordered = sorted(self._pages.items())
            self._pages.clear()  # in place: the ready pages and the deadlines refer to it
            self._pages.update(ordered)

    def _remove_page(self, page: Page) -> None:
        number = page.first >> PAGE_BITS
        del self._pages[number]
        if page.sequences is not None:
            del self._sparse[bisect_left(self._sparse, number)]

    def freeze(self) -> list[Page]:
        """Return all pages. They are not changed until `thaw`."""
        pages = list(self._pages.values())
        for page in pages:
            page.frozen = True
        return pages

    @staticmethod
    def thaw(pages: Iterable[Page]) -> None:
        """Allow changes to the pages that `freeze` returned."""
        for page in pages:
            page.frozen = False

    def _writable(self, page: Page) -> Page:
        """Return a page that may be changed: the page itself, or a copy in its place if a snapshot shares it."""
        if page.frozen:
            page = self._pages[page.first >> PAGE_BITS] = page.copy()
        return page
