"""Bugs in what the records add up to: columns, pages, queues, snapshots."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_COLUMNS = "wonderq/state/columns.py"
_DEADLINES = "wonderq/state/deadlines.py"
_READY = "wonderq/state/ready_pages.py"
_TABLE = "wonderq/state/message_table.py"
_STATE = "wonderq/state/state.py"
_COLUMN_TESTS = "tests/broker/test_columns.py"
_SNAPSHOTS = "tests/broker/test_snapshots.py"
_RECEIPTS = "tests/broker/test_receipts.py"

MUTANTS = [
    Mutant(
        "claimed_twice_in_a_batch",
        "A consumer gets the same message twice in one answer.",
        _COLUMNS,
        "start = page.status.find(WAITING, start + count)",
        "start = page.status.find(WAITING, start + count - 1)",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "released_a_millisecond_early",
        "A message is with two consumers for a millisecond.",
        _DEADLINES,
        "if not pages or pages[0] >> _PAGE_SHIFT > now_ms:",
        "if not pages or pages[0] >> _PAGE_SHIFT > now_ms + 1:",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "released_a_millisecond_late",
        "A claim lasts longer than it says.",
        _DEADLINES,
        "if not pages or pages[0] >> _PAGE_SHIFT > now_ms:",
        "if not pages or pages[0] >> _PAGE_SHIFT >= now_ms:",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "ended_claim_stays_exclusive",
        "A message whose consumer died is never given out again.",
        _COLUMNS,
        "in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:\n                    if",
        "in (DELAYED,) and page.due_ms[index] == due_ms:\n                    if",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "renewed_claim_ends_at_its_old_deadline",
        "A consumer that asked for more time loses its message.",
        _COLUMNS,
        "in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:\n                    if",
        "in (CLAIMED, DELAYED):\n                    if",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "deadline_in_whole_seconds",
        "A claim ends up to a second early.",
        _STATE,
        "claim(runs, at_ms, timeout_ms, token)",
        "claim(runs, (at_ms + timeout_ms) // 1000 * 1000 - timeout_ms, timeout_ms, token)",
        ("tests/broker/test_clock_jumps.py::test_deadlines_are_exact_to_the_millisecond",),
    ),
    Mutant(
        "receives_not_counted",
        "A message that fails again and again looks new each time.",
        _COLUMNS,
        "                page.receives[index] = before + 1\n",
        "                page.receives[index] = max(before, 1)\n",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "given_back_keeps_its_token",
        "The receipt of a message that was given back still acts.",
        _COLUMNS,
        "            if status != CLAIMED:\n                page.token[index] = NO_TOKEN\n",
        "",
        (f"{_RECEIPTS}::test_giving_a_message_back_voids_its_receipt",),
    ),
    Mutant(
        "purge_leaves_what_is_in_flight",
        "Messages that were purged while they were claimed come back.",
        _COLUMNS,
        "            self._remove(self._writable(page), 0, min(end - page.first, len(page.status)))\n",
        "            for index in range(min(end - page.first, len(page.status))):\n"
        "                if page.status[index] == WAITING:\n"
        "                    self.delete([page.first + index, 1])\n",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "purge_leaves_the_newest",
        "The newest message survives a purge.",
        _COLUMNS,
        "0, min(end - page.first, len(page.status)))",
        "0, min(end - page.first - 1, len(page.status)))",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "counts_drift",
        "The counts of a queue no longer add up once claimed messages are deleted.",
        _COLUMNS,
        "        self.counts[CLAIMED] -= claimed\n",
        "",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "younger_before_what_came_back",
        "A message whose claim ended waits until all younger ones are gone.",
        _READY,
        "            heapq.heappush(self._heap, page.first >> PAGE_BITS)\n",
        "            self._heap.append(page.first >> PAGE_BITS)\n",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "dropped_queue_comes_back",
        "A deleted queue is back with the next checkpoint.",
        _STATE,
        "dropped = self._by_number.pop(queue, None)",
        "dropped = self._by_number.get(queue)",
        (f"{_SNAPSHOTS}::test_any_moment_of_any_life",),
    ),
    Mutant(
        "dropped_queue_s_name_comes_back",
        "A deleted queue is still listed.",
        _STATE,
        "                del self.queues[dropped.name]\n",
        "                pass\n",
        ("tests/broker/test_whole_batches.py::test_a_dropped_queue_is_gone",),
    ),
    Mutant(
        "sequence_reused_after_compaction",
        "After the newest messages were deleted and compacted away, a new message gets the id of an old one.",
        _STATE,
        "        queue.messages.next_sequence = max(queue.messages.next_sequence, next_sequence)\n",
        "",
        ("tests/broker/test_rewriting.py::test_a_message_number_is_never_used_twice",),
    ),
    Mutant(
        "sequence_reused_after_a_checkpoint",
        "After a start from a checkpoint a new message gets the id of an old one.",
        _STATE,
        "            queue.messages.next_sequence = next_sequence\n",
        "",
        (f"{_SNAPSHOTS}::test_a_snapshot_stays_what_it_was_and_only_what_changes_is_copied",),
    ),
    Mutant(
        "queue_number_reused",
        "The ids of a dropped queue's messages mean messages of a new queue.",
        _STATE,
        "        self.key = key\n        self.identity_at = end\n"
        "        self.next_queue = max(self.next_queue, next_queue)\n",
        "        self.key = key\n        self.identity_at = end\n",
        ("tests/broker/test_rewriting.py::test_a_queue_number_is_never_used_twice",),
    ),
    Mutant(
        "newest_time_lost",
        "After a restart the broker's time may stand before the newest time in its log.",
        _STATE,
        "        if at_ms > self.last_ms:\n",
        "        if False:\n",
        ("tests/broker/test_clock.py::test_a_clock_set_back_across_a_restart_does_not_take_time_back",),
    ),
    Mutant(
        "time_of_the_last_record_counts",
        "A log whose records' times are not in order sets the clock back.",
        _STATE,
        "        if at_ms > self.last_ms:\n",
        "        if True:\n",
        ("tests/broker/test_unreadable_records.py::test_the_newest_time_counts_wherever_it_stands",),
    ),
    Mutant(
        "message_produced_again",
        "A record that repeats messages is applied a second time, and deleted ones are back.",
        _STATE,
        "        if first < messages.next_sequence:\n",
        "        if False:\n",
        ("tests/broker/test_unreadable_records.py::test_messages_that_are_produced_twice_are_refused",),
    ),
    Mutant(
        "nameless_queue_accepted",
        "A log that lost the name of a queue starts without that queue.",
        _STATE,
        "        if nameless or (self._by_number and self.key is None):\n",
        "        if False:\n",
        ("tests/broker/test_unreadable_records.py::test_a_log_without_its_names_is_refused",),
    ),
    Mutant(
        "snapshot_changes_under_the_writer",
        "A checkpoint has some changes that came after it, which are then applied twice.",
        _TABLE,
        "            page.frozen = True\n",
        "            page.frozen = False\n",
        (f"{_SNAPSHOTS}::test_a_snapshot_stays_what_it_was_and_only_what_changes_is_copied",),
    ),
    Mutant(
        "claimed_without_a_deadline_after_a_checkpoint",
        "After a start from a checkpoint, claims never end.",
        _COLUMNS,
        "            self._deadlines.rebuild(page)\n        self.lanes.offer_all()\n",
        "        self.lanes.offer_all()\n",
        (f"{_SNAPSHOTS}::test_any_moment_of_any_life",),
    ),
    Mutant(
        "rest_of_a_large_claim_never_ends",
        "Of many claimed messages that become available together, some never do.",
        _COLUMNS,
        "self._deadlines.add(page, due_ms, page.first + index, stop - index)",
        "self._deadlines.add(page, due_ms, page.first + index, 1)",
        (f"{_COLUMN_TESTS}::test_a_run_of_grouped_messages_is_split",),
    ),
    Mutant(
        "all_that_is_due_in_one_hold",
        "Nobody gets an answer while many claims end.",
        _COLUMNS,
        "        while left > 0 and (deadline :=",
        "        while (deadline :=",
        (f"{_COLUMN_TESTS}::test_a_portion_ends_few_deadlines_however_many_are_due",),
    ),
    Mutant(
        "earlier_deadline_of_a_page_is_overlooked",
        "A claim that ends before the others of its page ends with them.",
        _DEADLINES,
        "        if due_ms < self._places[number]:\n",
        "        if False:\n",
        (f"{_COLUMN_TESTS}::test_pages_whose_deadlines_get_earlier_and_earlier_keep_them_all",),
    ),
]
