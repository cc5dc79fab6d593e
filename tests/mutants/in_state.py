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
_MEMORY = "tests/broker/test_memory_use.py"
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
        "if not heap or heap[0][0] > now_ms:",
        "if not heap or heap[0][0] > now_ms + 1:",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "released_a_millisecond_late",
        "A claim lasts longer than it says.",
        _DEADLINES,
        "if not heap or heap[0][0] > now_ms:",
        "if not heap or heap[0][0] >= now_ms:",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "ended_claim_stays_exclusive",
        "A message whose consumer died is never delivered again.",
        _COLUMNS,
        "in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:\n                        self._set_status",
        "in (DELAYED,) and page.due_ms[index] == due_ms:\n                        self._set_status",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "renewed_claim_ends_at_its_old_deadline",
        "A consumer that asked for more time loses its message.",
        _COLUMNS,
        "in (CLAIMED, DELAYED) and page.due_ms[index] == due_ms:\n                        self._set_status",
        "in (CLAIMED, DELAYED):\n                        self._set_status",
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
        "                    page.receives[index] = before + 1\n",
        "                    page.receives[index] = max(before, 1)\n",
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
        "            self.delete([page.first, min(end, page.end) - page.first])\n",
        "            for index in range(min(end - page.first, len(page.status))):\n"
        "                if page.status[index] == WAITING:\n"
        "                    self.delete([page.first + index, 1])\n",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "purge_leaves_the_newest",
        "The newest message survives a purge.",
        _COLUMNS,
        "min(end, page.end) - page.first])",
        "min(end - 1, page.end) - page.first])",
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
        "A message whose claim expired waits until all younger ones are delivered.",
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
        "                self._ready.add(page)\n        self._deadlines.rebuild()\n",
        "                self._ready.add(page)\n",
        (f"{_SNAPSHOTS}::test_any_moment_of_any_life",),
    ),
    Mutant(
        "snapshot_of_several_moments",
        "A checkpoint has changes of some queues that came after it, which are then applied twice.",
        _STATE,
        "                snapshot.freeze(fields[2])",
        "                snapshot.freeze(0)",
        (f"{_SNAPSHOTS}::test_a_record_between_two_turns_freezes_its_queue_first",),
    ),
    Mutant(
        "snapshot_without_the_queues_that_changed_meanwhile",
        "A start from a checkpoint does not know the busiest queues.",
        _STATE,
        "        queue = self._unfrozen.pop(number, None)\n        if queue is not None:\n",
        "        queue = self._unfrozen.pop(number, None)\n        if queue is None:\n",
        (f"{_SNAPSHOTS}::test_a_record_between_two_turns_freezes_its_queue_first",),
    ),
    Mutant(
        "thinned_messages_are_not_found",
        "A waiting message that was moved into a sparse page is never delivered.",
        _COLUMNS,
        "                if before.waiting:\n                    self._ready.add(before)\n",
        "",
        (f"{_COLUMN_TESTS}::test_any_history_gives_the_same_as_the_naive_model",),
    ),
    Mutant(
        "thinning_changes_a_snapshot",
        "A checkpoint has messages twice that were moved into a sparse page meanwhile.",
        _COLUMNS,
        "                before = self._writable(before)\n                before.absorb(page)\n",
        "                before.absorb(page)\n",
        (f"{_SNAPSHOTS}::test_thinning_replaces_a_page_that_a_snapshot_has",),
    ),
    Mutant(
        "left_messages_keep_their_pages",
        "One message on each page of 4,096 takes 205 KB.",
        _COLUMNS,
        "before.live + page.live <= SPARSE_MESSAGES",
        "before.live + page.live <= 0",
        (f"{_MEMORY}::test_a_message_that_is_left_costs_at_most_256_bytes_whatever_else_was_there",),
    ),
]
