"""The messages of one queue as columns: tens of bytes a message, whatever the size of its body.

A page holds up to `PAGE_MESSAGES` messages with neighbouring sequence numbers, with one array per field. The fields
of claims and delays are in arrays that a page grows when one of its messages first needs them. So a waiting message
costs 21 bytes, and 49 bytes once a message of its page was claimed. A page is freed when all its messages are
deleted. The messages of pages that have few left share sparse pages (`Columns.thin`).

Waiting messages need no structure of their own: a search of the status bytes finds the first one of a page, and
`wonderq.state.ready_pages` lists the pages that have one. So a released message is found before younger messages.
Messages with a priority or a group are in lanes (`wonderq.state.lanes`). A queue without such messages has no lanes.
"""

from __future__ import annotations

import sys
from array import array
from bisect import insort
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import accumulate, compress, groupby, islice, takewhile
from typing import Any

from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import new_tuple
from wonderq.model.status import BURIED, CLAIMED, DELAYED, GONE, STATUS_COUNT, WAITING
from wonderq.state.claim_names import ClaimNames
from wonderq.state.deadlines import Deadlines
from wonderq.state.lanes import NO_LANE, LaneCount, Lanes
from wonderq.state.message_table import MessageTable
from wonderq.state.page import (
    EMPTY_BYTES,
    IN_LANE,
    MOST_BYTES,
    NO_TOKEN,
    PAGE_BITS,
    PAGE_MESSAGES,
    SHOWN,
    SPENT,
    MessageView,
    Page,
)
from wonderq.state.ready_pages import ReadyPages
from wonderq.state.record import MessageState, Runs, to_runs
from wonderq.state.shared_entries import SharedEntries

#: The last page of a queue is freed only after it held this many messages. So a queue that stays nearly empty does not
#: allocate a page per message.
_KEEP_BELOW = 256

#: A dense page that takes more than this for each of its messages is replaced by rows of a sparse page (`thin`).
WASTEFUL_BYTES = 128

#: Most messages that `thin` puts into one sparse page, so that each replacement is cheap.
SPARSE_MESSAGES = 2048

#: Places of a replaced page that `thin` counts as one unit of work, which takes about a microsecond.
_ROWS_OF_A_UNIT = 8

#: Units of work that deleting a page of plain messages counts as.
_UNITS_OF_A_PAGE = 25

#: Plain messages with the same deadline that `advance` counts as one unit of work, together with the deadline.
_MESSAGES_OF_A_UNIT = 64

#: Messages of a queue that was deleted whose shared entries `free` counts as one unit of work.
_RELEASES_OF_A_UNIT = 4

_WAITING_BYTE = bytes([WAITING])


class Columns(MessageTable):
    """All messages of a queue. Sequence numbers start at 0 and are never reused."""

    def __init__(self, shared: SharedEntries | None = None, lane_count: LaneCount | None = None) -> None:
        """``shared`` has the entries that messages of several queues share, and ``lane_count`` counts their lanes.

        Both are None if there are no other queues.
        """
        super().__init__()
        self._shared = SharedEntries() if shared is None else shared
        self.next_sequence = 0
        self.counts = [0] * STATUS_COUNT
        """Number of messages by status; 0 for GONE. A message keeps its status past its deadline until `advance`."""
        self.bytes = 0
        """Entry bytes of all messages."""
        self.changes = 0
        """Number of changes of statuses and of deletions since the start. It never comes back to an earlier value."""
        self.spent = 0
        """Number of messages that are set aside; they are in the count of waiting ones too."""
        self.spent_receives = 0
        """Number of claims at which those were set aside."""
        self.lanes = Lanes(self._status_of, self._receives_of, lane_count)
        self.claim_names = ClaimNames()
        self._ready = ReadyPages(self._pages)
        self._deadlines = Deadlines()
        self._thinned_at = 0  # next sequence number at the end of the last pass of `thin`

    def __len__(self) -> int:
        counts = self.counts
        return counts[WAITING] + counts[CLAIMED] + counts[DELAYED] + counts[BURIED]

    @property
    def available(self) -> int:
        """Number of waiting messages that are not set aside."""
        return self.counts[WAITING] - self.spent

    @property
    def is_searched(self) -> bool:
        """Whether the last `pick` found no message only if there is none. Otherwise the next one finds more."""
        return self.lanes.is_searched or not self.lanes.by_number

    # Reading

    def any_received(self, runs: Runs, receives: int) -> bool:
        """Return whether any message of runs was claimed ``receives`` times or more. All must exist."""
        return any(max(page.receives[start:stop], default=0) >= receives for page, start, stop in self._slices(runs))

    def rewrite_fields(self, runs: Runs) -> tuple[list[int], list[Sequence[Any]]]:
        """Return the fields ``produced_ms`` and ``claims`` of an UPDATE record that rewrites the messages of runs.

        All messages must exist.
        """
        produced_ms: list[int] = []
        claims: list[Sequence[Any]] = []
        for page, start, stop in self._slices(runs):
            produced_ms.extend(page.produced_ms[start:stop])
            if (
                page.status.count(WAITING, start, stop) < stop - start
                or any(page.receives[start:stop])
                or any(page.updates[start:stop])
            ):
                claims += [self.state_of(view).stored for view in page.views(start, stop) if not view.is_pristine]
        return produced_ms, claims

    def state_of(self, view: MessageView) -> MessageState:
        """Return the state of a message that is not pristine, for an UPDATE record that rewrites it."""
        claim = view.sequence, view.status, view.due_ms, view.timeout_ms, view.receives, view.token
        fields = *claim, view.first_claimed_ms, view.updates + 1, *self.lane_of(view), self.consumer_of(view)
        return new_tuple(MessageState, fields)

    def consumer_of(self, view: MessageView) -> str:
        """Return the name of the consumer that holds a message; empty if it gave none, or if nobody holds it."""
        return self.claim_names.by_token.get(view.token, "") if view.status == CLAIMED else ""

    def consumers_of(self, tokens: Iterable[int]) -> dict[int, str]:
        """Return the names of the consumers of claims, by the tokens of the claims whose consumer gave one."""
        names = self.claim_names.by_token
        return {token: names[token] for token in tokens if token in names} if names else {}

    def lane_of(self, view: MessageView) -> tuple[int, str]:
        """Return the priority and the group of a message."""
        return (0 if view.lane == NO_LANE else self.lanes[view.lane].priority), self.group_of(view.lane)

    def group_of(self, lane: int) -> str:
        """Return the group of the messages of a lane; empty for those that are in none."""
        return "" if lane == NO_LANE else self.lanes[lane].group.name

    def pick(
        self,
        limit: int,
        limit_bytes: int,
        allowance: Callable[[str], int] = lambda _: UNLIMITED,
        receives: int = UNLIMITED,
    ) -> Runs:
        """Return the messages to deliver next: the oldest waiting ones, in the order of the lanes if there are any.

        Returns at most ``limit`` messages whose entries have at most ``limit_bytes`` together; a first message that is
        larger is returned alone. ``allowance`` returns the number of messages that a group may get. In a FIFO queue, a
        message that was claimed ``receives`` times follows no other one of its group. Changes nothing.
        """
        if self.lanes.by_number:
            return self._pick_from_lanes(limit, limit_bytes, allowance, receives)
        runs: Runs = []
        taken: list[int] = []
        while limit > 0 and (page := self._ready.take(taken)) is not None:
            start = page.status.find(WAITING)
            while start >= 0 and limit > 0:
                ahead = page.status[start : start + limit]
                count = len(ahead) - len(ahead.lstrip(_WAITING_BYTE))
                lengths = page.length[start : start + count]
                total = sum(lengths)
                if total > limit_bytes:
                    fitting = sum(1 for size in accumulate(lengths) if size <= limit_bytes)
                    count = fitting if fitting or runs else 1
                    limit = count
                if count:
                    runs += (page.first + start, count) if page.sequences is None else page.runs(start, start + count)
                limit -= count
                limit_bytes -= total
                start = page.status.find(WAITING, start + count)
        self._ready.put_back(taken)
        return runs

    def _pick_from_lanes(self, limit: int, limit_bytes: int, allowance: Callable[[str], int], receives: int) -> Runs:
        picked: list[int] = []
        plain = self._plain()
        source = self.lanes.pick(plain, self.counts[CLAIMED] - self.lanes.in_flight, allowance, receives)
        try:
            for sequence in source if limit > 0 else ():
                limit_bytes -= self._length_of(sequence)
                if limit_bytes < 0 and picked:
                    break
                picked.append(sequence)
                if len(picked) == limit:
                    break
        finally:
            source.close()
            plain.close()
        return to_runs(picked)

    def _plain(self) -> Generator[int]:
        """Yield the waiting plain messages, oldest first. The caller must close the generator."""
        taken: list[int] = []
        try:
            while (page := self._ready.take(taken)) is not None:
                index = -1
                while (index := page.status.find(WAITING, index + 1)) >= 0:
                    yield page.sequence(index)
        finally:
            self._ready.put_back(taken)

    def oldest_waiting_ms(self) -> int | None:
        """Return since when the oldest waiting message could be claimed, or None if no message waits.

        That is the time at which it was produced, or its delay ended, or it was first claimed.
        """
        if not self.counts[WAITING]:
            return None
        in_lanes = bool(self.lanes.by_number)
        for page in self._pages.values():
            if (page.waiting or (in_lanes and page.live)) and (index := page.next_index(0, WAITING)) >= 0:
                view = page.view(index)
                return view.first_claimed_ms or max(view.produced_ms, view.due_ms)
        return None

    def oldest_end(self, most: int, before_ms: int | None = None) -> int | None:
        """Return the sequence number after the last of the oldest messages, for a purge of at most ``most`` units.

        With ``before_ms``, only messages that were produced before it count. Returns None if there are none.
        """
        end = None
        for page in self._pages.values():
            start = page.next_index(0, None)
            if start < 0:
                continue
            if most <= 0:
                break
            stop = len(page.status)
            if page.lane:
                stop = min(stop, start + most)
                most -= stop - start
            else:
                most -= _UNITS_OF_A_PAGE
            if before_ms is not None:
                stop = page.index_before(before_ms, start, stop)
            if stop > start:
                end = page.sequence(stop - 1) + 1
            if stop < len(page.status):
                break
        return end

    def next_due_ms(self) -> int | None:
        """Return the time from which `advance` has work, or None. It may be too early, but never too late."""
        return 0 if self.lanes.withheld else self._deadlines.next_ms()

    # Changing: only `State.apply` calls these methods, except `advance`
    #
    # After old parts of a log were dropped, a record may name messages that no earlier record produced. Such messages
    # were deleted later, or a later record rewrites them, so the record has no effect on them.

    def advance(self, now_ms: int, most: int = sys.maxsize) -> int:
        """Make messages available whose claim or delay has ended at ``now_ms``, with at most ``most`` units of work.

        A unit is one deadline or one message, which takes a few microseconds. Returns the units that are left. If none
        are, there may be more to do.

        No record is needed: the result follows from the deadlines. So this may be called at any time, or not at all.
        """
        left = self.lanes.offer_withheld(most)
        while left > 0 and (deadline := self._deadlines.pop(now_ms)) is not None:
            left = self._end(*deadline, left - 1)
        return left

    def _end(self, due_ms: int, first: int, count: int, left: int) -> int:
        """End the claims and delays of neighbouring messages that have this deadline; return the units left."""
        for page, start, stop in self._live_slices((first, count)):
            if stop - start > 1 and not page.lane and self._end_slice(page, start, stop, due_ms):
                left -= (stop - start) // _MESSAGES_OF_A_UNIT
                continue
            for index in range(start, stop):
                if page.status[index] in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:
                    if left <= 0 and page.lane:
                        self._schedule(page, due_ms, index, stop)
                        break
                    self._set_status(page, index, WAITING)
                    left -= 1
        return left

    def _end_slice(self, page: Page, start: int, stop: int, due_ms: int) -> bool:
        """End the claims or delays of plain messages, if all of them have the same status and deadline."""
        old, count = page.status[start], stop - start
        named = old == CLAIMED and self.claim_names.by_token
        if (
            old not in (CLAIMED, DELAYED)
            or page.status.count(old, start, stop) < count
            or page.due_ms[start:stop] != array("q", (due_ms,)) * count
        ):
            return False
        if named:
            self.claim_names.end(page.token[start:stop])
        self.changes += 1
        page.status[start:stop] = _WAITING_BYTE * count
        page.waiting += count
        self.counts[old] -= count
        self.counts[WAITING] += count
        self._ready.add(page)
        return True

    def set_aside_next(
        self, others: int, allowance: Callable[[str], int], receives: int, most: int
    ) -> list[MessageView]:
        """Set aside the messages that were claimed ``receives`` times and come before the next ``others`` of `pick`.

        No search for waiting messages finds them then. In a FIFO queue they block their groups, and one that comes
        after another message of its group stays behind it. Sets aside at most ``most``; returns them in their order.

        As for `advance`, no record is needed: which messages are concerned follows from their receive counts and a
        setting. After a start they have to be found again.
        """
        self.spent_receives = receives
        aside: list[MessageView] = []
        blocked: set[int] = set()
        plain = self._plain()
        source = self.lanes.pick(plain, self.counts[CLAIMED] - self.lanes.in_flight, allowance, receives)
        try:
            for sequence in source:
                page, index = self._place_of(sequence)
                assert page is not None
                view = page.view(index)
                if view.receives >= receives:
                    self._set_status(page, index, SPENT)
                    aside.append(view)
                    if self.lanes.block_groups:
                        blocked.add(view.lane)
                else:
                    others -= view.lane not in blocked
                if others <= 0 or len(aside) == most:
                    break
        finally:
            source.close()
            plain.close()
        return aside

    def is_to_put_back(self, receives: int) -> bool:
        """Return whether messages are set aside that a search for those claimed ``receives`` times has to find anew."""
        return bool(self.spent) and (self.spent_receives != receives or bool(self.lanes.disordered))

    def put_back(self, limit: int, receives: int) -> None:
        """Undo `set_aside_next` for about ``limit`` messages of those that `is_to_put_back` is about."""
        if self.spent_receives != receives:
            self._wait_again([view.sequence for view in self.after(-1, limit, SPENT)])
            return
        while limit > 0 and self.lanes.disordered:
            aside = self.lanes.set_aside_in(self.lanes.disordered.pop())
            self._wait_again(aside)
            limit -= 1 + len(aside)

    def _wait_again(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            page, index = self._place_of(sequence)
            assert page is not None
            self._set_status(page, index, WAITING)

    def set_aside_first(self, limit: int) -> list[MessageView]:
        """Return up to ``limit`` messages that are set aside, the oldest first."""
        return self.after(-1, limit, SPENT) if self.spent else []

    def produce(
        self,
        first: int,
        at_ms: int,
        position: int,
        lengths: Sequence[int],
        due_ms: Sequence[int],
        lanes: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Add messages produced at ``at_ms``, from sequence number ``first`` on.

        The entries are stored back to back from ``position`` on. ``due_ms`` has the end of each message's delay, and
        ``lanes`` the priority and group of each message. Either may be empty.
        """
        positions = (position,) if len(lengths) == 1 else array("Q", accumulate(lengths[:-1], initial=position))
        self.add(first, at_ms, positions, lengths, due_ms, lanes)

    def add(
        self,
        first: int,
        at_ms: int,
        positions: Sequence[int],
        lengths: Sequence[int],
        due_ms: Sequence[int],
        lanes: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Do what `produce` does, for entries at any positions."""
        total = len(lengths)
        if total == 1:
            self._append(first, at_ms, positions[0], lengths[0])
        else:
            self._extend(first, at_ms, positions, lengths)
        self.counts[WAITING] += total
        self.next_sequence = first + total
        for page, start, stop in self._slices((first, total)) if lanes else ():
            for index in range(start, stop):
                self._enter_lane(page, index, *lanes[page.sequence(index) - first])
        sequence = first
        for due, same in groupby(due_ms):
            count = sum(1 for _ in same)
            if due > at_ms:
                self._delay(sequence, count, due)
            sequence += count

    def _append(self, sequence: int, at_ms: int, position: int, length: int) -> None:
        """Add one message. `_extend` with one message takes three times as long."""
        page = self._page_to_append(sequence, 1)
        page.position.append(position)
        page.length.append(length)
        page.produced_ms.append(at_ms)
        page.status.append(WAITING)
        page.live += 1
        page.waiting += 1
        self.bytes += length

    def _extend(self, first: int, at_ms: int, positions: Sequence[int], lengths: Sequence[int]) -> None:
        done, total = 0, len(lengths)
        while done < total:
            sequence = first + done
            stop = min(total, done + PAGE_MESSAGES - sequence % PAGE_MESSAGES)
            count = stop - done
            page = self._page_to_append(sequence, count)
            page.position.extend(positions[done:stop])
            page.length.extend(lengths[done:stop])
            page.produced_ms.extend(array("q", (at_ms,)) * count)
            page.status.extend(_WAITING_BYTE * count)
            page.live += count
            page.waiting += count
            done = stop
        self.bytes += sum(lengths)

    def _page_to_append(self, sequence: int, count: int) -> Page:
        """Return the page to which the caller must append new waiting messages. The page is listed as ready."""
        number = sequence >> PAGE_BITS
        page = self._pages.get(number)
        if page is None:
            page = self._sparse_page(number)
            if page is None:
                page = Page(sequence)
                self._add_page(page)
        if page.frozen:
            page = self._writable(page)
        if page.sequences is not None:
            page.sequences.extend(range(sequence, sequence + count))
        elif page.first + len(page.status) != sequence:
            page.fill(sequence - page.first - len(page.status))
        if not page.listed:
            self._ready.add(page)
        return page

    def _delay(self, first: int, count: int, due_ms: int) -> None:
        """Delay messages that were just added."""
        for page, start, stop in self._slices((first, count)):
            page.grow_claims()
            count = stop - start
            page.due_ms[start:stop] = array("q", (due_ms,)) * count
            if page.lane:
                for index in range(start, stop):
                    self._set_status(page, index, DELAYED)
            else:
                page.status[start:stop] = bytes([DELAYED]) * count
                page.waiting -= count
                self.counts[WAITING] -= count
                self.counts[DELAYED] += count
            self._schedule(page, due_ms, start, stop)

    def _schedule(self, page: Page, due_ms: int, start: int, stop: int) -> None:
        """Add the deadline of neighbouring messages of a page."""
        if page.sequences is None:
            self._deadlines.add(page, due_ms, page.first + start, stop - start)
            return
        runs = page.runs(start, stop)
        for at in range(0, len(runs), 2):
            first, end = runs[at], runs[at] + runs[at + 1]
            for part in range(first, end, PAGE_MESSAGES):
                self._deadlines.add(page, due_ms, part, min(end - part, PAGE_MESSAGES))

    def _enter_lane(self, page: Page, index: int, priority: int, group: str) -> None:
        """Move a waiting message into the lane of its priority and group, if it has either."""
        if priority or group:
            if index >= len(page.lane):
                page.grow(page.lane)
            page.lane[index] = number = self.lanes.number_of(priority, group)
            page.status[index] = IN_LANE
            page.waiting -= 1
            self.lanes.update_status(number, page.sequence(index), GONE, IN_LANE)

    def claim(self, runs: Runs, at_ms: int, timeout_ms: int, token: int, consumer: str = "") -> None:
        """Claim messages until ``at_ms + timeout_ms``. ``token`` identifies the claim."""
        due_ms = at_ms + timeout_ms
        self.changes += 1
        for page, start, stop in self._live_slices(runs):
            page.grow_claims()
            if self.claim_names.by_token:
                self._end_names(page, start, stop)
            if consumer:
                self.claim_names.begin(token, consumer, stop - start)
            if stop - start == 1 or page.lane:
                for index in range(start, stop):
                    self._claim_one(page, index, at_ms, timeout_ms, token)
            else:
                self._claim_slice(page, start, stop, at_ms, timeout_ms, token)
            self._schedule(page, due_ms, start, stop)

    def _end_names(self, page: Page, start: int, stop: int) -> None:
        """Remove the claimed ones of these messages from the names of their consumers."""
        indexes = range(start, min(stop, len(page.token)))
        self.claim_names.end(page.token[index] for index in indexes if page.status[index] == CLAIMED)

    def _claim_slice(self, page: Page, start: int, stop: int, at_ms: int, timeout_ms: int, token: int) -> None:
        """Claim neighbouring plain messages of a page."""
        count = stop - start
        waiting = page.status.count(WAITING, start, stop)
        claimed = page.status.count(CLAIMED, start, stop)
        page.status[start:stop] = bytes([CLAIMED]) * count
        page.due_ms[start:stop] = array("q", (at_ms + timeout_ms,)) * count
        page.timeout_ms[start:stop] = array("I", (timeout_ms,)) * count
        page.token[start:stop] = array("I", (token,)) * count
        receives = page.receives[start:stop]
        if receives.count(0) == count:
            page.receives[start:stop] = array("I", (1,)) * count
            page.first_claimed_ms[start:stop] = array("q", (at_ms,)) * count
        else:
            for index, before in enumerate(receives, start):
                page.receives[index] = before + 1
                if not before:
                    page.first_claimed_ms[index] = at_ms
        page.waiting -= waiting
        self.counts[WAITING] -= waiting
        self.counts[DELAYED] -= count - waiting - claimed
        self.counts[CLAIMED] += count - claimed
        if self.lanes.by_number:
            self.lanes.count_claim(NO_LANE)

    def _claim_one(self, page: Page, index: int, at_ms: int, timeout_ms: int, token: int) -> None:
        """Claim one message, in a third of the time that array slices take."""
        old = page.status[index]
        page.status[index] = CLAIMED
        page.due_ms[index] = at_ms + timeout_ms
        page.timeout_ms[index] = timeout_ms
        page.token[index] = token
        if not page.receives[index]:
            page.first_claimed_ms[index] = at_ms
        page.receives[index] += 1
        page.waiting -= old == WAITING
        self.counts[SHOWN[old]] -= 1
        self.counts[CLAIMED] += 1
        if self.lanes.by_number:
            lane = page.lane_of(index)
            if lane:
                self.lanes.update_status(lane, page.sequence(index), old, CLAIMED)
            self.lanes.count_claim(lane)

    def change(self, sequence: int, status: int, due_ms: int, timeout_ms: int, receives: int | None = None) -> None:
        """Release, renew, delay or bury one message. ``receives`` sets its receive count, if given."""
        page, index = self._place_of(sequence)
        if page is None:
            return
        page.grow_claims()
        if page.status[index] == SPENT and status != BURIED:
            self.lanes.disorder(page.lane_of(index))
        self._set_status(page, index, status)
        page.due_ms[index] = due_ms
        page.timeout_ms[index] = timeout_ms
        if receives is not None:
            page.receives[index] = receives
            if not receives:
                page.first_claimed_ms[index] = 0
        if status != CLAIMED:
            page.token[index] = NO_TOKEN
        if status in (CLAIMED, DELAYED):
            self._deadlines.add(page, due_ms, sequence, 1)

    def rewrite(self, runs: Runs, position: int, produced_ms: Sequence[int], lengths: Sequence[int]) -> None:
        """Replace all fields of messages by those of pristine ones. Messages that do not exist are added.

        The entries are stored back to back from ``position`` on. `rewrite_state` sets the other fields of messages that
        are not pristine.
        """
        self.rewrite_at(runs, array("Q", accumulate(lengths[:-1], initial=position)), produced_ms, lengths)

    def rewrite_at(self, runs: Runs, positions: array[int], produced_ms: Sequence[int], lengths: Sequence[int]) -> None:
        """Do what `rewrite` does, for entries at any positions."""
        done = 0
        for at in range(0, len(runs), 2):
            sequence, end = runs[at], runs[at] + runs[at + 1]
            while sequence < end:
                stop = min(end, (sequence // PAGE_MESSAGES + 1) * PAGE_MESSAGES)
                page = self._page_for(sequence, stop)
                count = stop - sequence
                batch = slice(done, done + count)
                start = page.index(sequence)
                self._rewrite_slice(page, start, positions[batch], produced_ms[batch], lengths[batch])
                self.bytes += sum(lengths[batch])
                done += count
                sequence = stop
            self.next_sequence = max(self.next_sequence, end)

    def _rewrite_slice(
        self, page: Page, start: int, positions: array[int], produced_ms: Sequence[int], lengths: Sequence[int]
    ) -> None:
        """Replace the messages of a page from index ``start`` on, except the sum of bytes."""
        count = len(positions)
        stop = start + count
        for index in range(start, stop) if self.spent else ():
            if page.status[index] == SPENT:
                self.lanes.disorder(page.lane_of(index))
        self._clear(page, start, stop)
        page.position[start:stop] = positions
        page.length[start:stop] = array("I", lengths)
        page.produced_ms[start:stop] = array("q", produced_ms)
        claims = min(stop, len(page.due_ms)) - start
        if claims > 0:
            for column in (page.due_ms, page.timeout_ms, page.receives, page.token, page.first_claimed_ms):
                column[start : start + claims] = array(column.typecode, bytes(column.itemsize * claims))
        for index in range(start, min(stop, len(page.updates))):
            page.updates[index] = 0
        page.status[start:stop] = _WAITING_BYTE * count
        page.live += count
        page.waiting += count
        self.counts[WAITING] += count
        self._ready.add(page)

    def rewrite_state(self, state: MessageState) -> None:
        """Set the state of a message that `rewrite` made pristine."""
        page, index = self._place_of(state.sequence)
        if page is None:
            return
        self._enter_lane(page, index, state.priority, state.group)
        if state.consumer:
            self.claim_names.begin(state.token, state.consumer)
        page.grow_claims()
        self._set_status(page, index, state.status)
        page.due_ms[index] = state.due_ms
        page.timeout_ms[index] = state.timeout_ms
        page.receives[index] = state.receives
        page.token[index] = state.token
        page.first_claimed_ms[index] = state.first_claimed_ms
        if state.version > 1:
            page.grow(page.updates)
            page.updates[index] = state.version - 1
        if state.status in (CLAIMED, DELAYED):
            self._deadlines.add(page, state.due_ms, state.sequence, 1)

    def _page_for(self, sequence: int, stop: int) -> Page:
        """Return the page of the messages from ``sequence`` up to ``stop``, created or extended if necessary."""
        number = sequence >> PAGE_BITS
        page = self._sparse_page(number)
        if page is not None:
            start = page.index(sequence)
            if page.runs(start, start + stop - sequence) == [sequence, stop - sequence]:
                return self._writable(page)
            self._carve(page, number)
        page = self._pages.get(number)
        if page is None:
            page = Page(sequence)
            self._add_page(page)
        page = self._writable(page)
        if sequence < page.first:
            page.fill_front(sequence)
        if stop > page.first + len(page.status):
            page.fill(stop - page.first - len(page.status))
        return page

    def delete(self, runs: Runs) -> None:
        """Delete messages."""
        for page, start, stop in self._live_slices(runs):
            self._remove(page, start, stop)

    def purge(self, end: int) -> None:
        """Delete all messages whose sequence numbers are below ``end``."""
        for page in list(takewhile(lambda page: page.first < end, self._pages.values())):
            self._remove(self._writable(page), 0, min(page.index(end), len(page.status)))
        self.next_sequence = max(self.next_sequence, end)

    def free(self, most: int) -> int:
        """Free the messages of a queue that was deleted, in portions; see `wonderq.state.disposal.free`."""
        most = self.lanes.free(self._deadlines.free(most))
        while most > 0 and self._pages:
            _, page = self._pages.popitem()
            most -= _UNITS_OF_A_PAGE
            if self._shared:
                self._release(page, 0, len(page.status))
                most -= len(page.status) // _RELEASES_OF_A_UNIT
        return most

    def _release(self, page: Page, start: int, stop: int) -> None:
        """Tell those who share the entries of messages that these messages leave them."""
        self._shared.release(page.ends(start, stop))

    def unreleased(self) -> list[Page]:
        """Return the pages of a queue that was deleted whose messages still count as sharing entries."""
        return list(self._pages.values()) if self._shared else []

    def _remove(self, page: Page, start: int, stop: int) -> None:
        """Delete messages of a page, and free the page if it has no others."""
        self.changes += 1
        self._clear(page, start, stop)
        if not page.live:
            self._deadlines.forget(page)
            is_appended_to = page.sequences is None and page.end == self.next_sequence and page.end % PAGE_MESSAGES
            if len(page.status) >= _KEEP_BELOW or not is_appended_to:
                self._remove_page(page)
        else:
            self._deadlines.shrink(page)

    def _clear(self, page: Page, start: int, stop: int) -> None:
        """Remove messages from a page and from all counts. The page stays."""
        count = stop - start
        left = self._leave_lanes(page, start, stop) if page.lane else ()
        deleted = page.status.count(GONE, start, stop)
        waiting = page.status.count(WAITING, start, stop)
        buried = page.status.count(BURIED, start, stop)
        claimed = page.status.count(CLAIMED, start, stop)
        spent = page.status.count(SPENT, start, stop) if self.spent else 0
        if claimed and self.claim_names.by_token:
            self._end_names(page, start, stop)
        if self._shared:
            self._release(page, start, stop)
        if not deleted:
            self.bytes -= sum(page.length[start:stop])
        elif deleted < count:
            self.bytes -= sum(compress(page.length[start:stop], page.status[start:stop]))
        page.status[start:stop] = bytes(count)
        page.waiting -= waiting
        page.live -= count - deleted
        self.spent -= spent
        self.counts[WAITING] -= waiting + spent
        self.counts[CLAIMED] -= claimed
        self.counts[BURIED] -= buried
        self.counts[DELAYED] -= count - deleted - waiting - claimed - buried - spent
        for number, sequence, old in left:
            self.lanes.update_status(number, sequence, old, GONE)

    def _leave_lanes(self, page: Page, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Take messages that are about to be deleted out of their lanes.

        A message that waited in its lane gets the status WAITING. Returns the lane, the sequence number and the old
        status of each message, for `Lanes.update_status` once the messages are deleted.
        """
        left: list[tuple[int, int, int]] = []
        for index in range(start, min(stop, len(page.lane))):
            number, old = page.lane[index], page.status[index]
            if number:
                page.lane[index] = NO_LANE
                if old == IN_LANE:
                    page.status[index] = WAITING
                    page.waiting += 1
                left.append((number, page.sequence(index), old))
        return left

    def _set_status(self, page: Page, index: int, status: int) -> None:
        old, lane = page.status[index], page.lane_of(index)
        if lane and status == WAITING:
            status = IN_LANE
        if old == CLAIMED != status and self.claim_names.by_token:
            self.claim_names.end((page.token[index],))
        self.changes += 1
        page.status[index] = status
        self.counts[SHOWN[old]] -= old != GONE
        self.counts[SHOWN[status]] += 1
        self.spent += (status == SPENT) - (old == SPENT)
        if lane:
            self.lanes.update_status(lane, page.sequence(index), old, status)
        if old == WAITING:
            page.waiting -= 1
        if status == WAITING:
            page.waiting += 1
            self._ready.add(page)

    def load(
        self,
        pages: Iterable[Page],
        lanes: Iterable[tuple[int, int, str]] = (),
        names: Iterable[tuple[int, str, int]] = (),
    ) -> None:
        """Load the pages of a dump, its lanes (`Lane.definition`) and names (`ClaimNames.rows`) into an empty queue."""
        for row in names:
            self.claim_names.begin(*row)
        for number, priority, group in lanes:
            self.lanes.load(number, priority, group)
        number = -1
        for page in pages:
            if page.first >> PAGE_BITS <= number:
                raise ValueError("the pages of a queue do not ascend")
            number = (page.end - 1) >> PAGE_BITS
            self._add_page(page)
            self.bytes += page.live_bytes()
            for status in range(1, STATUS_COUNT):
                self.counts[status] += page.status.count(status)
            self.counts[WAITING] += page.status.count(IN_LANE)
            for index, lane in enumerate(page.lane):
                if lane:
                    self.lanes.load_message(lane, page.sequence(index), page.status[index])
            if page.waiting:
                self._ready.add(page)
            self._deadlines.rebuild(page)
        self.lanes.offer_all()

    # Sparse pages

    def thin(self, start: int, work: int) -> tuple[int | None, int]:
        """Move the messages of pages that have few left into sparse pages. No reader sees a difference.

        Begin at the page with index ``start``, and stop after about ``work`` units: one for each page that is
        inspected, and one for `_ROWS_OF_A_UNIT` places of a page that is replaced. Returns the index to continue at,
        or None at the end of the queue, and the remaining work.
        """
        at = start
        before: Page | None = None  # the page before, if it is sparse
        dense = PAGE_MESSAGES * MOST_BYTES * len(self._pages) <= WASTEFUL_BYTES * len(self)
        for done, number in enumerate([] if dense else list(islice(self._pages, start, start + max(work, 2)))):
            if work <= 0 and done >= 2:  # the first page may be one that the last portion ended with
                break
            page = self._pages[number]
            work -= 1
            at += 1
            if not self._is_wasteful(page):
                before = None
            elif before is not None and before.live + page.live <= SPARSE_MESSAGES:
                before = self._writable(before)
                before.absorb(page)
                self._deadlines.move(page, before)
                if before.waiting:
                    self._ready.add(before)
                self._remove_page(page)
                at -= 1
                work -= len(page.status) // _ROWS_OF_A_UNIT
            elif page.sequences is None or len(page.status) > 2 * page.live:
                before = page.thinned()
                if page.sequences is None:
                    insort(self._sparse, number)
                self._pages[number] = before
                work -= len(page.status) // _ROWS_OF_A_UNIT
            else:
                before = page
        if not dense and at < len(self._pages):
            return at - (before is not None), work
        self._thinned_at = self.next_sequence
        return None, work - 1

    def _is_wasteful(self, page: Page) -> bool:
        """Return whether a page takes too much memory for its messages, or is sparse."""
        if page.sequences is not None:
            return page.live > 0
        if page.live > SPARSE_MESSAGES or page.memory_bytes <= WASTEFUL_BYTES * page.live:
            return False
        # A queue that is in use keeps the page that it appends to dense, because that is faster.
        is_in_use = page.end == self.next_sequence and self.next_sequence - self._thinned_at > _KEEP_BELOW
        alone = len(self._pages) == 1 and page.memory_bytes <= 2 * (EMPTY_BYTES + MOST_BYTES * page.live)
        return page.live > 0 and not is_in_use and not alone

    def _carve(self, page: Page, number: int) -> None:
        """Give the messages of a page number a dense page of their own, out of a sparse page."""
        self._deadlines.forget(page)
        self._remove_page(page)
        for part in page.carve(number << PAGE_BITS, (number + 1) << PAGE_BITS):
            if part.live:
                self._add_page(part)
                self._deadlines.rebuild(part)
                if part.waiting:
                    self._ready.add(part)
