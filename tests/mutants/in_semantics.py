"""Bugs in the order of messages, fairness, dedup keys, attempts, dead letters, versions and queue settings."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MESSAGES = "wonderq/model/messages.py"
_COMPACTION = "wonderq/broker/compaction.py"
_LANES = "wonderq/state/lanes.py"
_COLUMNS = "wonderq/state/columns.py"
_STATE = "wonderq/state/state.py"
_DEDUP = "wonderq/state/dedup.py"
_PRODUCE = "wonderq/broker/produce.py"
_CLAIMS = "wonderq/broker/claims.py"
_CHANGES = "wonderq/broker/changes.py"
_TRANSFERS = "wonderq/broker/transfers.py"
_FIFO = "tests/broker/test_fifo.py"
_FAIRNESS = "tests/broker/test_fairness.py"
_PRIORITIES = "tests/broker/test_priorities.py"
_KEYS = "tests/broker/test_deduplication.py"
_ATTEMPTS = "tests/broker/test_attempts.py"
_DEAD = "tests/broker/test_dead_letters.py"
_BURY = "tests/broker/test_bury_and_kick.py"
_VERSIONS = "tests/broker/test_versions.py"
_ATTRIBUTES = "tests/broker/test_attributes.py"
_HAND_OVER = "tests/broker/test_hand_over.py"
_SETTINGS = "tests/broker/test_queue_settings.py"
_RATES = "tests/broker/test_rates.py"
_RETENTION = "tests/broker/test_retention.py"

_ORDER = [
    Mutant(
        "fifo_group_is_not_blocked",
        "Two consumers work on one customer's messages at once, and finish them in the wrong order.",
        _LANES,
        "for heap, status in ((lane.claimed, CLAIMED), (lane.delayed, DELAYED)):",
        "for heap, status in ((lane.delayed, DELAYED),):",
        (f"{_FIFO}::test_a_group_waits_for_its_message_in_flight",),
    ),
    Mutant(
        "fifo_passes_over_what_is_tried_again_later",
        "A message that failed once is overtaken by the next of its group.",
        _LANES,
        "for heap, status in ((lane.claimed, CLAIMED), (lane.delayed, DELAYED)):",
        "for heap, status in ((lane.claimed, CLAIMED),):",
        (f"{_FIFO}::test_a_message_that_is_tried_again_later_keeps_its_group_waiting",),
    ),
    Mutant(
        "fifo_message_waits_for_a_younger_one",
        "A message that failed waits until the consumer of a later one is done, although it comes first.",
        _LANES,
        "if older is not None and older < head:",
        "if older is not None:",
        (f"{_FIFO}::test_what_comes_before_the_message_in_flight_is_given_at_once",),
    ),
    Mutant(
        "purge_voids_no_keys",
        "After a purge, a producer of a FIFO queue sends again with the same ids, gets 200, and nothing is added.",
        _DEDUP,
        "return None if sequence is None or sequence < (self.get(PURGE, now_ms) or 0) else sequence",
        "return sequence",
        (f"{_KEYS}::test_a_purge_that_voids_keys",),
    ),
    Mutant(
        "expired_claim_loses_its_receipt",
        "A consumer makes a message visible, finishes it after all and deletes it: it gets 200, and the message stays.",
        _CHANGES,
        "return view._replace(due_ms=now_ms)",
        "return view._replace(status=WAITING, due_ms=0, token=NO_TOKEN)",
        ("tests/broker/test_receipts.py::test_the_receipt_of_a_claim_that_was_made_to_expire",),
    ),
    Mutant(
        "fifo_group_stands_still_behind_what_was_deleted",
        "A group is never given out again once a delayed message of it was deleted.",
        _COLUMNS,
        "        left = self._leave_lanes(page, start, stop) if page.lane else ()\n",
        "        for each in self._leave_lanes(page, start, stop) if page.lane else ():\n"
        "            self.lanes.update_status(*each, GONE)\n"
        "        left: list[tuple[int, int, int]] = []\n",
        (f"{_FIFO}::test_a_delayed_message_that_is_deleted_keeps_nobody_waiting",),
    ),
    Mutant(
        "priorities_upside_down",
        "The most urgent message comes last.",
        _LANES,
        "for priority in range(MAX_PRIORITY, -1, -1):",
        "for priority in range(MAX_PRIORITY + 1):",
        (f"{_PRIORITIES}::test_the_most_urgent_comes_first_and_then_the_oldest",),
    ),
    Mutant(
        "priority_lost_in_a_checkpoint",
        "After a restart a group is mixed up with another, or a start passes over all checkpoints.",
        _LANES,
        "        return self.number, self.priority, self.group.name\n",
        "        return self.number, 0, self.group.name\n",
        (f"{_PRIORITIES}::test_the_most_urgent_comes_first_and_then_the_oldest",),
    ),
    Mutant(
        "priority_and_group_not_restated",
        "Once its segment was compacted, an urgent message waits like all others.",
        _COLUMNS,
        "view.updates + 1, *self.lane_of(view))",
        'view.updates + 1, 0, "")',
        (f"{_PRIORITIES}::test_the_most_urgent_comes_first_and_then_the_oldest",),
    ),
    Mutant(
        "shares_do_not_count_what_is_in_flight",
        "A tenant whose jobs take long gets all the workers.",
        _LANES,
        "        return self.in_flight, self.turn\n",
        "        return 0, self.turn\n",
        (f"{_FAIRNESS}::test_a_group_that_works_slowly_gets_less",),
    ),
    Mutant(
        "shares_without_turns",
        "One of two tenants gets nothing as long as the other has messages.",
        _LANES,
        "            self.by_number[number].group.turn = self._turn\n",
        "            pass\n",
        (f"{_FAIRNESS}::test_shares_are_equal_as_long_as_everybody_has_messages",),
    ),
    Mutant(
        "new_groups_come_first",
        "With a group for each message, those of yesterday are never given out.",
        _LANES,
        "Group(name, self._turn)",
        "Group(name, 0)",
        (f"{_FAIRNESS}::test_new_groups_do_not_go_before_those_that_wait",),
    ),
    Mutant(
        "no_turns_for_messages_without_a_group",
        "Groups get nothing as long as there are messages without one.",
        _LANES,
        "            self._plain_turn = self._turn\n",
        "            pass\n",
        (f"{_FAIRNESS}::test_messages_without_a_group_do_not_go_before_groups_for_ever",),
    ),
    Mutant(
        "no_limit_for_a_group_in_flight",
        "A tenant has more jobs under way than may be.",
        _LANES,
        "group.in_flight >= self._in_flight_per_group)",
        "group.in_flight > self._in_flight_per_group)",
        (f"{_FAIRNESS}::test_a_group_has_at_most_so_many_in_flight",),
    ),
    Mutant(
        "heaps_of_lanes_are_never_cleared",
        "Memory grows with each retry, for as long as a group has messages.",
        _LANES,
        "        if len(heap) > 2 * most + _VOID_PLACES:\n",
        "        if most < 0:\n",
        (f"{_SETTINGS}::test_a_message_that_comes_and_goes_again_and_again_takes_one_place",),
    ),
]

_ONCE = [
    Mutant(
        "key_not_restated",
        "A message is there twice, since its key was in a segment that was compacted.",
        _COMPACTION,
        "append_and_apply(record.Dedup(record.DEDUP, now_ms, number, rows))",
        "rows = []",
        (f"{_KEYS}::test_the_same_key_again_adds_nothing",),
    ),
    Mutant(
        "key_not_in_a_checkpoint",
        "A message is there twice after a restart.",
        _STATE,
        "                queue.dedup.copy(),\n",
        "                {},\n",
        (f"{_KEYS}::test_the_same_key_again_adds_nothing",),
    ),
    Mutant(
        "key_forgotten_with_its_message",
        "A payment is made twice, because the first order was done when it was sent again.",
        _STATE,
        "        messages.delete(runs)\n",
        "        messages.delete(runs)\n        self._queue_for(queue).dedup = DedupTable()\n",
        (f"{_KEYS}::test_a_key_is_remembered_when_its_message_is_gone",),
    ),
    Mutant(
        "key_twice_in_a_batch",
        "A batch that has a message twice adds it twice.",
        _PRODUCE,
        "sequence = placed.keys[key] if key in placed.keys else queue.dedup.message(key, now_ms)",
        "sequence = queue.dedup.message(key, now_ms)",
        (f"{_KEYS}::test_the_same_key_twice_in_one_batch_is_one_message",),
    ),
    Mutant(
        "key_remembered_for_ever",
        "A key that was used yesterday swallows today's message.",
        _DEDUP,
        "return found.value if found is not None and found.until_ms > now_ms else None",
        "return found.value if found is not None else None",
        (f"{_KEYS}::test_a_key_is_forgotten_at_the_end_of_its_window",),
    ),
    Mutant(
        "window_not_that_of_the_queue",
        "Keys are forgotten earlier than the queue was told to remember them.",
        _PRODUCE,
        "until_ms = now_ms + settings.deduplication_window_ms",
        "until_ms = now_ms + 300_000",
        (f"{_KEYS}::test_the_window_can_be_set",),
    ),
    Mutant(
        "keys_fill_up_for_good",
        "A broker that had many keys once takes none any more, until it is restarted.",
        "wonderq/broker/admission.py",
        "            self._state.forget(now_ms)\n",
        "",
        (f"{_KEYS}::test_so_many_keys_and_no_more_and_room_again_when_they_are_forgotten",),
    ),
    Mutant(
        "attempt_given_again_after_a_change",
        "A consumer gets a message again that it has deleted or given back.",
        _CLAIMS,
        "(each.status, each.token, each.due_ms) != expected",
        "each.token != token",
        (f"{_ATTEMPTS}::test_not_when_something_was_done_to_one_of_them",),
    ),
    Mutant(
        "part_of_an_attempt_given_again",
        "A consumer gets the rest of an answer again of which it has deleted a part.",
        _CLAIMS,
        "if len(views) < sum(runs[1::2]) or any(",
        "if not views or any(",
        (f"{_ATTEMPTS}::test_not_when_something_was_done_to_one_of_them",),
    ),
    Mutant(
        "attempt_not_remembered",
        "A consumer whose answer was lost is given other messages, and those wait until their claims end.",
        _CLAIMS,
        "        if attempt_id is not None:\n            records.append(",
        "        if attempt_id is not None and not runs:\n            records.append(",
        (f"{_ATTEMPTS}::test_the_same_messages_and_receipts_with_the_timeout_anew",),
    ),
    Mutant(
        "hand_over_without_the_deletion",
        "A step is done again after the next one was handed over.",
        _PRODUCE,
        "append_and_apply(delete, *records, leave=PRODUCE_LEAVES)",
        "append_and_apply(*records, leave=PRODUCE_LEAVES)",
        (f"{_HAND_OVER}::test_to_several_queues_of_which_some_are_new",),
    ),
    Mutant(
        "hand_over_in_pieces",
        "After a crash a step is neither to be done nor handed over.",
        _PRODUCE,
        "            core.append_and_apply(delete, *records, leave=PRODUCE_LEAVES)\n            core.counters.of(queue).deleted",
        "            for each in (delete, *records):\n                core.append_and_apply(each, leave=PRODUCE_LEAVES)\n"
        "            core.counters.of(queue).deleted",
        (f"{_HAND_OVER}::test_a_crash_leaves_all_or_nothing",),
    ),
    Mutant(
        "hand_over_makes_two_queues_with_one_number",
        "The messages of two new queues get mixed up.",
        _PRODUCE,
        "queue = self._core.new_output_queue(name, now_ms, created)",
        "queue = self._core.new_output_queue(name, now_ms)",
        (f"{_HAND_OVER}::test_to_several_queues_of_which_some_are_new",),
    ),
]

_ASIDE = [
    Mutant(
        "dead_letter_is_in_both_queues",
        "A poisonous message is copied to the dead-letter queue again and again, and never leaves its own.",
        _TRANSFERS,
        "            records.append(record.Delete(record.DELETE, now_ms, queue.number, runs))\n",
        "            records.append(record.Delete(record.DELETE, now_ms, queue.number, runs[:0]))\n",
        (f"{_DEAD}::test_a_chain_of_queues",),
        hangs=True,
    ),
    Mutant(
        "dead_letter_without_its_origin",
        "Nobody knows where a dead letter came from, and it cannot be sent back.",
        _TRANSFERS,
        "Transfer(message, target, self._with_source(queue, message, reason, now_ms))",
        "Transfer(message, target, message.headers)",
        (f"{_DEAD}::test_a_dead_letter_has_all_it_had_and_where_it_came_from",),
    ),
    Mutant(
        "one_receive_too_many",
        "A poisonous message is tried once more than may be.",
        _CLAIMS,
        "view.receives >= settings.max_receives",
        "view.receives > settings.max_receives",
        (f"{_DEAD}::test_a_dead_letter_has_all_it_had_and_where_it_came_from",),
    ),
    Mutant(
        "moved_though_it_was_changed_meanwhile",
        "A message that was claimed or deleted just now turns up as a dead letter.",
        _TRANSFERS,
        "                    if self.is_unchanged(queue, message)\n                ]\n                if transfers:",
        "                ]\n                if transfers:",
        (f"{_DEAD}::test_a_move_that_something_comes_between",),
    ),
    Mutant(
        "dead_letters_without_a_place_stop_a_queue",
        "Nobody can claim anything, since one dead letter cannot be moved.",
        _TRANSFERS,
        "        except TooManyQueuesError:",
        "        except KeyError:",
        (f"{_DEAD}::test_without_a_place_for_their_queue_they_are_buried",),
    ),
    Mutant(
        "kicked_messages_have_had_their_tries",
        "What is kicked is buried again at once.",
        _CHANGES,
        "(view.sequence, WAITING, 0, 0, 0)",
        "(view.sequence, WAITING, 0, 0)",
        (f"{_BURY}::test_what_is_kicked_counts_as_never_received",),
    ),
    Mutant(
        "kicked_messages_keep_their_first_claim_until_they_are_restated",
        "A compaction changes what is shown of a message.",
        _COLUMNS,
        "                if not receives:\n                    page.first_claimed_ms[index] = 0\n",
        "",
        (f"{_BURY}::test_what_is_kicked_counts_as_never_received",),
    ),
    Mutant(
        "waiting_the_same_time_each_time",
        "A service that is down is asked as often as ever.",
        _CHANGES,
        "change.backoff_ms << doublings",
        "change.backoff_ms",
        (f"{_BURY}::test_waiting_twice_as_long_each_time",),
    ),
    Mutant(
        "kept_a_millisecond_too_long",
        "A message is given out that is older than its queue keeps any.",
        _CLAIMS,
        "retention_end(now_ms - queue.settings.retention_ms + 1)",
        "retention_end(now_ms - queue.settings.retention_ms)",
        (f"{_RETENTION}::test_what_is_too_old_is_not_given_out",),
    ),
]

_OF_CHANGES = [
    Mutant(
        "version_not_counted",
        "Of two who change a message at once, the second undoes what the first did.",
        _CHANGES,
        "after._replace(updates=view.updates + 1), new.entry",
        "after, new.entry",
        (f"{_VERSIONS}::test_each_rewrite_is_a_version",),
    ),
    Mutant(
        "version_not_checked",
        "Whoever changes a message undoes what somebody else did meanwhile.",
        _CHANGES,
        "if change.if_version is not None and change.if_version != view.updates + 1:",
        "if change.if_version is not None and change.if_version > view.updates + 1:",
        (f"{_VERSIONS}::test_a_change_for_another_version_is_refused",),
    ),
    Mutant(
        "version_not_restated",
        "After a compaction a change is refused that was made for the right version.",
        _COLUMNS,
        "            if state.version > 1:\n                page.grow(page.updates)\n",
        "            if state.version > 2:\n                page.grow(page.updates)\n",
        (f"{_VERSIONS}::test_each_rewrite_is_a_version",),
    ),
    Mutant(
        "new_body_loses_the_attributes",
        "A consumer does not know what to do with a message whose text was corrected.",
        _CHANGES,
        "                headers = message.headers\n",
        "                headers: Headers = {}\n",
        (f"{_ATTRIBUTES}::test_an_update_replaces_all_of_them_and_nothing_else",),
    ),
    Mutant(
        "attributes_do_not_count_for_the_size",
        "A queue for small messages has large ones.",
        _MESSAGES,
        "        size += len(name.encode()) + len(kind.encode()) + ",
        "        size += ",
        (f"{_ATTRIBUTES}::test_they_count_for_a_message_s_size",),
    ),
    Mutant(
        "changes_may_be_as_large_as_they_like",
        "A queue for small messages has large ones, by way of changes.",
        _CHANGES,
        "if most_bytes and new.size > most_bytes:",
        "if not most_bytes and new.size < most_bytes:",
        (f"{_ATTRIBUTES}::test_a_queue_s_own_limit_counts_for_changes_too",),
    ),
]

_QUEUES = [
    Mutant(
        "paused_queue_gives_out_messages",
        "A consumer is given work on a database that is being moved.",
        _CLAIMS,
        "            if settings.paused:\n                return NoClaim()\n",
        "",
        (f"{_SETTINGS}::test_a_paused_queue_takes_messages_and_gives_none_out",),
    ),
    Mutant(
        "those_who_wait_are_not_told_that_a_queue_goes_on",
        "Consumers sleep for seconds though there is work again.",
        "wonderq/broker/queues.py",
        "            self._core.consumers.notify(self._core.state.queues[queue.name])",
        "            pass",
        (f"{_SETTINGS}::test_those_who_wait_for_a_paused_queue_are_woken_when_it_goes_on",),
        hangs=True,
    ),
    Mutant(
        "waiting_for_a_paused_queue_spins",
        "A broker with a paused queue takes all of a processor.",
        _CLAIMS,
        "        self._core.advance(queue, now_ms)\n        if queue.restricts_claims:\n",
        "        if not settings.paused:\n            self._core.advance(queue, now_ms)\n        if queue.restricts_claims:\n",
        (f"{_SETTINGS}::test_waiting_for_a_paused_queue_takes_no_work",),
    ),
    Mutant(
        "draining_queue_takes_messages",
        "A queue that is to be emptied never is.",
        _PRODUCE,
        "    if settings.draining:\n        raise QueueDrainingError(queue.name)\n",
        "",
        (f"{_SETTINGS}::test_a_draining_queue_gives_out_messages_and_takes_none",),
    ),
    Mutant(
        "settings_get_lost",
        "After a restart a queue does not know its limits any more.",
        "wonderq/model/settings.py",
        "            if getattr(self, each.name) != getattr(_DEFAULTS, each.name)\n",
        '            if getattr(self, each.name) != getattr(_DEFAULTS, each.name) and each.name != "max_in_flight"\n',
        (f"{_SETTINGS}::test_all_of_them_last",),
    ),
    Mutant(
        "rate_of_groups_counts_for_messages_without_one",
        "Urgent messages are kept back because others came before them.",
        "wonderq/broker/rate_limits.py",
        " if group else UNLIMITED",
        "",
        (f"{_RATES}::test_messages_without_a_group_have_no_limit_for_groups",),
    ),
    Mutant(
        "rates_are_not_counted",
        "A service behind a queue is asked more often than it can bear.",
        _CLAIMS,
        "        if rates is not None:\n            rates.count(",
        "        if rates is not None and not views:\n            rates.count(",
        (f"{_RATES}::test_so_many_a_second",),
    ),
]

MUTANTS = [*_ORDER, *_ONCE, *_ASIDE, *_OF_CHANGES, *_QUEUES]
