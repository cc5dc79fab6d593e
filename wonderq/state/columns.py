"""The messages of one queue as columns: tens of bytes a message, whatever its body's size.

A page holds up to `PAGE_MESSAGES` messages with neighbouring sequence numbers, one array for each thing known of them.
What only a claimed or delayed message has is kept in arrays that a page grows when it first needs them: a message that
merely waits costs 21 bytes (49 once its page had a claim). A page whose messages are all gone is freed.

Ready messages need no structure of their own: a page finds its first waiting message by searching its status bytes, and
a heap of page numbers tells which pages have one. So a message that comes back is found before younger ones, by itself.
Those with a priority or a group are in lanes (`wonderq.state.lanes`), which there are none of in a queue without such messages.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby, repeat

from wonderq.model.status import BURIED, CLAIMED, DELAYED, GONE, STATUS_COUNT, WAITING
from wonderq.state.lanes import NO_LANE, Lanes
from wonderq.state.page import IN_LANE, NO_TOKEN, PAGE_BITS, PAGE_MESSAGES, SHOWN, MessageView, Page
from wonderq.state.record import Runs, to_runs

#: A page at the end of the queue is not freed before it held this many, so that a queue which stays nearly empty does
#: not make a page for each message.
_KEEP_BELOW = 256

_WAITING_BYTE = bytes([WAITING])
_GONE_BYTE = bytes([GONE])


class Columns:
    """All messages of a queue. Sequence numbers begin at 0 and are never used twice."""

    def __init__(self) -> None:
        self.next_sequence = 0
        self.counts = [0] * STATUS_COUNT
        """Messages by state (GONE is not kept). Those past their deadline count as waiting only after `advance`."""
        self.bytes = 0
        """Entry bytes of all messages."""
        self.claims_timed_out = 0
        """Claims that `advance` found ended; whoever counts them takes them from here."""
        self._pages: dict[int, Page] = {}  # by sequence >> PAGE_BITS, ascending
        self._ready: list[int] = []  # heap of the numbers of pages with a waiting message, and some without
        self._due: list[tuple[int, int, int]] = []  # heap of (due_ms, first, count), and some that no longer hold
        self._due_messages = 0  # the sum of the counts in it
        self.lanes = Lanes(self._status_of)

    def __len__(self) -> int:
        counts = self.counts
        return counts[WAITING] + counts[CLAIMED] + counts[DELAYED] + counts[BURIED]

    # Reading

    def find(self, sequence: int) -> MessageView | None:
        """Return one message, or None when it is gone or was never there."""
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None:
            return None
        index = sequence - page.first
        if not 0 <= index < len(page.status) or page.status[index] == GONE:
            return None
        return page.view(index)

    def _status_of(self, sequence: int) -> int:
        page = self._pages.get(sequence >> PAGE_BITS)
        if page is None:
            return GONE
        index = sequence - page.first
        return page.status[index] if 0 <= index < len(page.status) else GONE

    def still_at(self, runs: Runs, places: array[int]) -> Iterator[tuple[int, int, int]]:
        """Find which messages have their entries where ``places`` says, one place for each message of the runs.

        Yields stretches of them: (index of the first among all, its sequence number, how many).
        """
        passed = 0
        for at in range(0, len(runs), 2):
            first, count = runs[at], runs[at + 1]
            for page, start, stop in self._slices((first, count)):
                index = passed + page.first + start - first
                expected = places[index : index + stop - start]
                if page.position[start:stop] == expected and page.status.find(GONE, start, stop) < 0:
                    yield index, page.first + start, stop - start
                    continue
                found = to_runs(
                    offset
                    for offset, place in enumerate(expected)
                    if page.position[start + offset] == place and page.status[start + offset] != GONE
                )
                for each in range(0, len(found), 2):
                    yield index + found[each], page.first + start + found[each], found[each + 1]
            passed += count

    def describe(self, runs: Runs) -> tuple[list[int], list[tuple[int | str, ...]]]:
        """Return what restates messages that are there, besides their entries: when produced, and claims (`restate`)."""
        produced_ms: list[int] = []
        claims: list[tuple[int | str, ...]] = []
        for page, start, stop in self._slices(runs):
            produced_ms.extend(page.produced_ms[start:stop])
            if (
                page.status.count(WAITING, start, stop) < stop - start
                or any(page.receives[start:stop])
                or any(page.updates[start:stop])
            ):
                claims += [self.claim_of(view) for view in page.views(start, stop) if not view.is_pristine]
        return produced_ms, claims

    def claim_of(self, view: MessageView) -> tuple[int | str, ...]:
        """Return what an UPDATE record says of a restated message that does not merely wait."""
        claim = view.sequence, view.status, view.due_ms, view.timeout_ms, view.receives, view.token
        return (*claim, view.first_claimed_ms, view.updates + 1, *self.lane_of(view))

    def lane_of(self, view: MessageView) -> tuple[int, str]:
        """Return a message's priority and group."""
        if view.lane == NO_LANE:
            return 0, ""
        lane = self.lanes[view.lane]
        return lane.priority, lane.group.name

    def views(self, runs: Runs) -> list[MessageView]:
        """Return the messages of runs, all of which must be there."""
        return list(chain.from_iterable(page.views(start, stop) for page, start, stop in self._slices(runs)))

    def are_claimed(self, runs: Runs, tokens: list[int]) -> bool:
        """Tell whether all messages of the runs are there, and have those tokens, one for each."""
        passed = 0
        for page, start, stop in self._slices(runs):
            expected = array("I", tokens[passed : passed + stop - start])
            if page.token[start:stop] != expected or page.status.find(GONE, start, stop) >= 0:
                return False
            passed += stop - start
        return passed == len(tokens)

    def produced_ms(self, runs: Runs) -> array[int]:
        """Return when the messages of runs were produced, all of which must be there; those that come first are oldest."""
        page = self._pages.get(runs[0] >> PAGE_BITS)
        if page is not None and len(runs) == 2:  # the most common case, in a quarter of the time
            start = runs[0] - page.first
            times = page.produced_ms[start : start + runs[1]]
            if len(times) == runs[1]:
                return times
        times = array("q")
        for page, start, stop in self._slices(runs):
            times += page.produced_ms[start:stop]
        return times

    def after(self, sequence: int, limit: int, status: int | None = None) -> list[MessageView]:
        """Return up to ``limit`` messages with larger sequence numbers, ascending; all, or those of one status."""
        found: list[MessageView] = []
        for number, page in self._pages.items():
            if number < (sequence + 1) >> PAGE_BITS or not page.live:
                continue
            index = max(sequence + 1 - page.first, 0)
            while (index := page.next_index(index, status)) >= 0:
                found.append(page.view(index))
                if len(found) == limit:
                    return found
                index += 1
        return found

    def walk(self, chunk_messages: int) -> Iterator[list[MessageView]]:
        """Yield all messages in order, in lists of up to ``chunk_messages``."""
        sequence = -1
        while views := self.after(sequence, chunk_messages):
            yield views
            sequence = views[-1].sequence

    def any_before(self, position: int) -> bool:
        """Tell whether the entry of any message that is there lies before a position of the log."""
        return any(
            place < position and status != GONE
            for page in self._pages.values()
            if page.live and min(page.position) < position
            for place, status in zip(page.position, page.status, strict=True)
        )

    def oldest_ms(self) -> int | None:
        """Return when the oldest message was produced, or None in an empty queue."""
        for page in self._pages.values():
            if page.live:
                return page.produced_ms[len(page.status) - len(page.status.lstrip(_GONE_BYTE))]
        return None

    def expired_end(self, before_ms: int) -> int | None:
        """Return the sequence number behind the last message that was produced before a time, or None if none was."""
        end = None
        for page in self._pages.values():
            if not page.live:
                continue
            if max(page.produced_ms) < before_ms:
                end = page.first + len(page.status)
                continue
            index = page.next_index(0, None)
            if page.produced_ms[index] >= before_ms:
                break
            while index >= 0 and page.produced_ms[index] < before_ms:
                end = page.first + index + 1
                index = page.next_index(index + 1, None)
        return end

    def pick(self, limit: int, limit_bytes: int, allowance: Callable[[str], int] = lambda _: 1 << 30) -> Runs:
        """Choose the messages that are next, at most ``limit``: the oldest that wait, and what the lanes say.

        Their entries have at most ``limit_bytes`` together, unless the first alone has more. ``allowance`` says how many a
        group may have.
        """
        if self.lanes.by_number:
            return self._pick_from_lanes(limit, limit_bytes, allowance)
        runs: Runs = []
        looked_at: list[int] = []
        while limit > 0 and (page := self._next_ready(looked_at)) is not None:
            start = page.status.find(WAITING)
            while start >= 0 and limit > 0:
                ahead = page.status[start : start + limit]
                count = len(ahead) - len(ahead.lstrip(_WAITING_BYTE))
                lengths = page.length[start : start + count]
                total = sum(lengths)
                if total > limit_bytes:
                    within = sum(1 for so_far in accumulate(lengths) if so_far <= limit_bytes)
                    count = within if within or runs else 1
                    limit = count
                if count:
                    runs += (page.first + start, count)
                limit -= count
                limit_bytes -= total
                start = page.status.find(WAITING, start + count)
        for number in looked_at:
            heapq.heappush(self._ready, number)
        return runs

    def _next_ready(self, looked_at: list[int]) -> Page | None:
        """Return the next page with a waiting message, and note its number, which has to be put back into the heap."""
        while self._ready:
            number = heapq.heappop(self._ready)
            page = self._pages.get(number)
            if page is None or not page.waiting:
                if page is not None:
                    page.listed = False
                continue
            if looked_at and looked_at[-1] == number:
                continue  # listed twice: once by a page that was freed, once by its successor
            looked_at.append(number)
            return page
        return None

    def _pick_from_lanes(self, limit: int, limit_bytes: int, allowance: Callable[[str], int]) -> Runs:
        picked: list[int] = []
        plain = self._plain()
        source = self.lanes.pick(plain, self.counts[CLAIMED] - self.lanes.in_flight, allowance)
        try:
            for sequence in source if limit > 0 else ():
                page = self._pages[sequence >> PAGE_BITS]
                limit_bytes -= page.length[sequence - page.first]
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
        """Yield the messages that wait and are in no lane, the oldest first."""
        looked_at: list[int] = []
        try:
            while (page := self._next_ready(looked_at)) is not None:
                index = -1
                while (index := page.status.find(WAITING, index + 1)) >= 0:
                    yield page.first + index
        finally:
            for number in looked_at:
                heapq.heappush(self._ready, number)

    def next_due_ms(self) -> int | None:
        """Return when the next claim or delay may end, or None when there is none. It may be early, never late."""
        return self._due[0][0] if self._due else None

    # Changing: called by `State.apply` alone, but for `advance`
    #
    # When old parts of a log have been dropped, a record may be about messages that nothing before it tells of. They were
    # deleted later, or a later record restates them; so what is said of them here changes nothing.

    def advance(self, now_ms: int) -> None:
        """Turn claims and delays that have ended by ``now_ms`` into waiting messages.

        This writes nothing down: it follows from the deadlines, so it may happen at any time, or not.
        """
        due = self._due
        if not due or due[0][0] > now_ms:
            return
        claimed = self.counts[CLAIMED]
        while due and due[0][0] <= now_ms:
            due_ms, first, count = heapq.heappop(due)
            self._due_messages -= count
            for page, start, stop in self._parts([first, count]):
                for index in range(start, stop):
                    if page.status[index] in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:
                        self._set_status(page, index, WAITING)
        self.claims_timed_out += claimed - self.counts[CLAIMED]

    def produce(
        self,
        first: int,
        at_ms: int,
        position: int,
        lengths: Sequence[int],
        due_ms: Sequence[int],
        lanes: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Add messages whose entries lie back to back from ``position`` on.

        ``due_ms`` delays each, or is empty; ``lanes`` has the priority and the group of each, or is empty.
        """
        total = len(lengths)
        if total == 1:
            self._append(first, at_ms, position, lengths[0])
        else:
            self._extend(first, at_ms, position, lengths)
        self.counts[WAITING] += total
        self.next_sequence = first + total
        if lanes:
            for sequence, (priority, group) in enumerate(lanes, first):
                self._enter_lane(sequence, priority, group)
        sequence = first
        for due, same in groupby(due_ms):
            count = sum(1 for _ in same)
            if due > at_ms:
                self._delay(sequence, count, due)
            sequence += count

    def _append(self, sequence: int, at_ms: int, position: int, length: int) -> None:
        """Add one message: what `_extend` does, in a third of the time."""
        page = self._page_to_append(sequence)
        page.position.append(position)
        page.length.append(length)
        page.produced_ms.append(at_ms)
        page.status.append(WAITING)
        page.live += 1
        page.waiting += 1
        self.bytes += length

    def _extend(self, first: int, at_ms: int, position: int, lengths: Sequence[int]) -> None:
        done, total = 0, len(lengths)
        places = array("Q", accumulate(lengths, initial=position))
        while done < total:
            sequence = first + done
            page = self._page_to_append(sequence)
            stop = min(total, done + PAGE_MESSAGES - sequence % PAGE_MESSAGES)
            count = stop - done
            page.position.extend(places[done:stop])
            page.length.extend(lengths[done:stop])
            page.produced_ms.extend(array("q", (at_ms,)) * count)
            page.status.extend(_WAITING_BYTE * count)
            page.live += count
            page.waiting += count
            done = stop
        self.bytes += places[-1] - position

    def _page_to_append(self, sequence: int) -> Page:
        """Return the page whose next place is that of a new message, listed as having one that waits."""
        number = sequence >> PAGE_BITS
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = Page(sequence)
        elif page.frozen:
            page = self._own(page)
        if page.first + len(page.status) != sequence:
            page.fill(sequence - page.first - len(page.status))
        if not page.listed:
            self._list(page, number)
        return page

    def _delay(self, first: int, count: int, due_ms: int) -> None:
        """Hide messages that were just added."""
        for page, start, stop in self._slices((first, count)):
            page.grow_claims()
            if page.lane:
                for index in range(start, stop):
                    page.due_ms[index] = due_ms
                    self._set_status(page, index, DELAYED)
                continue
            page.status[start:stop] = bytes([DELAYED]) * (stop - start)
            page.due_ms[start:stop] = array("q", (due_ms,)) * (stop - start)
            page.waiting -= stop - start
            self.counts[WAITING] -= stop - start
            self.counts[DELAYED] += stop - start
        self._schedule(due_ms, first, count)

    def _enter_lane(self, sequence: int, priority: int, group: str) -> None:
        """Take a message that merely waits into a lane."""
        if not (priority or group):
            return
        for page, index, _ in self._parts((sequence, 1)):
            page.grow(page.lane)
            page.lane[index] = number = self.lanes.number_of(priority, group)
            page.status[index] = IN_LANE
            page.waiting -= 1
            self.lanes.changed(number, sequence, GONE, IN_LANE)

    def claim(self, runs: Runs, at_ms: int, timeout_ms: int, token: int) -> None:
        due_ms = at_ms + timeout_ms
        for page, start, stop in self._parts(runs):
            page.grow_claims()
            count = stop - start
            if count == 1 or page.lane:
                for index in range(start, stop):
                    self._claim_one(page, index, at_ms, timeout_ms, token)
                continue
            waiting = page.status.count(WAITING, start, stop)
            claimed = page.status.count(CLAIMED, start, stop)
            page.status[start:stop] = bytes([CLAIMED]) * count
            page.due_ms[start:stop] = array("q", (due_ms,)) * count
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
                self.lanes.gave(NO_LANE)
        for at in range(0, len(runs), 2):
            self._schedule(due_ms, runs[at], runs[at + 1])

    def _claim_one(self, page: Page, index: int, at_ms: int, timeout_ms: int, token: int) -> None:
        """Do for one message what `claim` does for a stretch of them, in a third of the time."""
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
                self.lanes.changed(lane, page.first + index, old, CLAIMED)
            self.lanes.gave(lane)

    def change(self, sequence: int, status: int, due_ms: int, timeout_ms: int, receives: int | None = None) -> None:
        """Release, renew, delay or bury one message. If ``receives`` is given, it counts as received so often."""
        for page, index, _ in self._parts((sequence, 1)):
            page.grow_claims()
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
                self._schedule(due_ms, sequence, 1)

    def restate(self, runs: Runs, position: int, produced_ms: Sequence[int], lengths: Sequence[int]) -> None:
        """Set all there is to know of messages that merely wait, whether they were known before or not.

        Their entries lie back to back from ``position`` on.
        """
        places = array("Q", accumulate(lengths, initial=position))
        done = 0
        for at in range(0, len(runs), 2):
            sequence, end = runs[at], runs[at] + runs[at + 1]
            while sequence < end:
                stop = min(end, (sequence // PAGE_MESSAGES + 1) * PAGE_MESSAGES)
                page = self._page_of(sequence, stop)
                start, behind = sequence - page.first, stop - page.first
                self._restate(page, start, behind, done, places, produced_ms, lengths)
                done += behind - start
                sequence = stop
            self.next_sequence = max(self.next_sequence, end)

    def _restate(
        self,
        page: Page,
        start: int,
        stop: int,
        done: int,
        places: array[int],
        produced_ms: Sequence[int],
        lengths: Sequence[int],
    ) -> None:
        count = stop - start
        self._forget(page, start, stop)
        page.position[start:stop] = places[done : done + count]
        page.length[start:stop] = array("I", lengths[done : done + count])
        page.produced_ms[start:stop] = array("q", produced_ms[done : done + count])
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
        self.bytes += places[done + count] - places[done]
        self._list(page, page.first >> PAGE_BITS)

    def restate_claim(
        self,
        sequence: int,
        status: int,
        due_ms: int,
        timeout_ms: int,
        receives: int,
        token: int,
        first_claimed_ms: int = 0,
        version: int = 1,
        priority: int = 0,
        group: str = "",
    ) -> None:
        """Set what a restated message has that does not merely wait."""
        self._enter_lane(sequence, priority, group)
        for page, index, _ in self._parts((sequence, 1)):
            page.grow_claims()
            self._set_status(page, index, status)
            page.due_ms[index] = due_ms
            page.timeout_ms[index] = timeout_ms
            page.receives[index] = receives
            page.token[index] = token
            page.first_claimed_ms[index] = first_claimed_ms
            if version > 1:
                page.grow(page.updates)
                page.updates[index] = version - 1
            if status in (CLAIMED, DELAYED):
                self._schedule(due_ms, sequence, 1)

    def _page_of(self, sequence: int, stop: int) -> Page:
        """Return the page with places for messages up to ``stop``, all on one page, made or enlarged if need be."""
        number = sequence >> PAGE_BITS
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = Page(sequence)
            if number != max(self._pages):
                self._pages = dict(sorted(self._pages.items()))
        page = self._own(page)
        if sequence < page.first:
            page.fill_front(sequence)
        if stop > page.first + len(page.status):
            page.fill(stop - page.first - len(page.status))
        return page

    def delete(self, runs: Runs) -> None:
        for page, start, stop in self._parts(runs):
            self._remove(page, start, stop)

    def purge(self, end: int) -> None:
        """Remove every message whose sequence number is below ``end``."""
        for page in [page for page in self._pages.values() if page.first < end]:
            self.delete([page.first, min(end - page.first, len(page.status))])
        self.next_sequence = max(self.next_sequence, end)

    def _remove(self, page: Page, start: int, stop: int) -> None:
        self._forget(page, start, stop)
        if not page.live:
            end = page.first + len(page.status)
            if len(page.status) >= _KEEP_BELOW or end % PAGE_MESSAGES == 0:
                del self._pages[page.first >> PAGE_BITS]

    def _forget(self, page: Page, start: int, stop: int) -> None:
        """Take messages out of a page and out of all counts."""
        count = stop - start
        left = self._leave_lanes(page, start, stop) if page.lane else ()
        gone = page.status.count(GONE, start, stop)
        waiting = page.status.count(WAITING, start, stop)
        buried = page.status.count(BURIED, start, stop)
        claimed = page.status.count(CLAIMED, start, stop)
        if not gone:
            self.bytes -= sum(page.length[start:stop])
        elif gone < count:
            self.bytes -= sum(page.length[index] for index in range(start, stop) if page.status[index] != GONE)
        page.status[start:stop] = bytes(count)
        page.waiting -= waiting
        page.live -= count - gone
        self.counts[WAITING] -= waiting
        self.counts[CLAIMED] -= claimed
        self.counts[BURIED] -= buried
        self.counts[DELAYED] -= count - gone - waiting - claimed - buried
        for number, sequence, old in left:
            self.lanes.changed(number, sequence, old, GONE)

    def _leave_lanes(self, page: Page, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Take messages that are about to go out of their lanes: they merely wait after that, or have another status.

        Returns the lane, the sequence number and the old status of each, for `Lanes.changed` when they are gone.
        """
        left: list[tuple[int, int, int]] = []
        for index in range(start, min(stop, len(page.lane))):
            number, old = page.lane[index], page.status[index]
            if number:
                page.lane[index] = NO_LANE
                if old == IN_LANE:
                    page.status[index] = WAITING
                    page.waiting += 1
                left.append((number, page.first + index, old))
        return left

    def _set_status(self, page: Page, index: int, status: int) -> None:
        old, lane = page.status[index], page.lane_of(index)
        if lane and status == WAITING:
            status = IN_LANE
        page.status[index] = status
        self.counts[SHOWN[old]] -= old != GONE
        self.counts[SHOWN[status]] += 1
        if lane:
            self.lanes.changed(lane, page.first + index, old, status)
        if old == WAITING:
            page.waiting -= 1
        if status == WAITING:
            page.waiting += 1
            self._list(page, page.first >> PAGE_BITS)

    def _list(self, page: Page, number: int) -> None:
        if not page.listed:
            page.listed = True
            heapq.heappush(self._ready, number)
            if len(self._ready) > 2 * len(self._pages) + 64:
                # A freed page's number goes when `pick` meets it, which may be never.
                self._ready = [number for number, page in self._pages.items() if page.listed]

    def _slices(self, runs: Sequence[int]) -> Iterator[tuple[Page, int, int]]:
        """Cut runs at page borders into (page, first index, index behind the last); what has no page is left out."""
        for at in range(0, len(runs), 2):
            sequence = runs[at]
            end = sequence + runs[at + 1]
            while sequence < end:
                number = sequence >> PAGE_BITS
                stop = min(end, (number + 1) << PAGE_BITS)
                page = self._pages.get(number)
                if page is not None:
                    start, behind = max(sequence - page.first, 0), min(stop - page.first, len(page.status))
                    if start < behind:
                        yield page, start, behind
                sequence = stop

    def _parts(self, runs: Sequence[int]) -> Iterator[tuple[Page, int, int]]:
        """Cut runs at page borders and around messages that are gone, into pages that may be changed."""
        for found, start, stop in self._slices(runs):
            page = self._own(found)
            if page.status.find(GONE, start, stop) < 0:
                yield page, start, stop
                continue
            there = [index for index in range(start, stop) if page.status[index] != GONE]
            parts = to_runs(there)
            for at in range(0, len(parts), 2):
                yield page, parts[at], parts[at] + parts[at + 1]

    def _schedule(self, due_ms: int, first: int, count: int) -> None:
        heapq.heappush(self._due, (due_ms, first, count))
        self._due_messages += count
        # To make it anew goes through all pages: not before so many deadlines are void that it costs each of them little.
        if self._due_messages > 2 * (self.counts[CLAIMED] + self.counts[DELAYED]) + 1024 + len(self) // 64:
            self._rebuild_schedule()

    def _rebuild_schedule(self) -> None:
        """Make the heap of deadlines anew: most in it are of messages that were deleted, released or renewed."""
        by_due_ms: dict[int, list[int]] = {}
        for page in self._pages.values():
            for status in (CLAIMED, DELAYED):
                index = -1
                while (index := page.status.find(status, index + 1)) >= 0:
                    by_due_ms.setdefault(page.due_ms[index], []).append(page.first + index)
        self._due = []
        for due_ms, sequences in by_due_ms.items():
            runs = to_runs(sequences)
            self._due += zip(repeat(due_ms), runs[::2], runs[1::2], strict=False)
        heapq.heapify(self._due)
        self._due_messages = sum(map(len, by_due_ms.values()))

    # Snapshots: pages are shared with them, and copied when they are next changed

    def freeze(self) -> list[Page]:
        """Return all pages, which from now on nobody changes until `thaw`."""
        pages = list(self._pages.values())
        for page in pages:
            page.frozen = True
        return pages

    @staticmethod
    def thaw(pages: Iterable[Page]) -> None:
        for page in pages:
            page.frozen = False

    def _own(self, page: Page) -> Page:
        """Return a page that may be changed: the same, or a copy in its place if a snapshot holds it."""
        if page.frozen:
            page = self._pages[page.first >> PAGE_BITS] = page.copy()
        return page

    def load(self, pages: Iterable[Page], lanes: Iterable[tuple[int, int, str]] = ()) -> None:
        """Take over the pages of a dump, in an empty queue, and its lanes (`Lane.about`)."""
        for each in lanes:
            self.lanes.load(*each)
        for page in pages:
            self._pages[page.first >> PAGE_BITS] = page
            self.bytes += page.live_bytes()
            for status in range(1, STATUS_COUNT):
                self.counts[status] += page.status.count(status)
            self.counts[WAITING] += page.status.count(IN_LANE)
            for index, lane in enumerate(page.lane):
                if lane:
                    self.lanes.changed(lane, page.first + index, GONE, page.status[index])
            if page.waiting:
                self._list(page, page.first >> PAGE_BITS)
        self._rebuild_schedule()
