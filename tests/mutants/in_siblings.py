"""Bugs that are siblings of others: forgotten on the way, one unit or one place off, or asked of the wrong one."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CHANGES = "wonderq/broker/changes.py"
_QUEUES = "wonderq/broker/queues.py"
_QUERIES = "wonderq/broker/queries.py"
_REDRIVE = "wonderq/broker/redrive.py"
_TRANSFERS = "wonderq/broker/transfers.py"
_TABLE = "wonderq/state/message_table.py"
_ANSWERS = "tests/broker/test_durable_answers.py::test_an_answer_waits"
_REDRIVES = "tests/broker/test_redrive.py"
_CARRIED = f"{_REDRIVES}::TestWhereTo::test_all_go_to_the_destination_with_what_they_carry_and_in_order"
_DEAD = "tests/broker/test_dead_letters.py::test_a_dead_letter_has_all_it_had_and_where_it_came_from"
_POSITIONS = "tests/broker/test_columns.py::test_messages_are_found_at_their_positions_on_all_pages"

_FORGOTTEN = [
    Mutant(
        f"redrive_loses_the_{header}",
        "A message that is sent back for another try is not the one that failed.",
        _TRANSFERS,
        'if name not in ("origin", FAILURE_HEADER)',
        f'if name not in ("origin", FAILURE_HEADER, "{header}")',
        (_CARRIED,),
    )
    for header in ("group", "priority", "attributes", "system")
] + [
    Mutant(
        "dead_letter_loses_its_trace",
        "A dead letter cannot be found in the trace of the request that failed.",
        _TRANSFERS,
        '{**headers, "origin"',
        '{**{name: each for name, each in headers.items() if name != "system"}, "origin"',
        (_DEAD,),
    ),
    Mutant(
        "an_export_loses_all_but_the_bodies",
        "After an export and an import, messages have no attributes, groups and priorities any more.",
        "wonderq/state/record.py",
        "return _decode_contents(value) if value[0] == _PAIR else",
        "return (_decode_contents(value)[0], {}) if value[0] == _PAIR else",
        ("tests/tools/test_exchange.py::test_what_queues_and_messages_have_besides",),
    ),
    Mutant(
        "timeout_of_a_renewal_is_forgotten",
        "A consumer that asked for ten minutes once has thirty seconds again at its next renewal.",
        "wonderq/broker/updates.py",
        "status=CLAIMED, due_ms=now_ms + timeout_ms, timeout_ms=timeout_ms)",
        "status=CLAIMED, due_ms=now_ms + timeout_ms)",
        ("tests/broker/test_receipts.py::test_a_renewal_is_by_the_timeout_of_the_one_before",),
    ),
    Mutant(
        "compaction_passes_over_a_page",
        "Messages are lost with the segment that they were in.",
        _TABLE,
        "start, stop - start\n                    continue\n",
        "start, stop - start\n                    break\n",
        (_POSITIONS,),
    ),
    Mutant(
        "compaction_passes_over_what_follows_a_sparse_page",
        "Messages are lost with the segment that they were in.",
        _TABLE,
        "yield place, sequence, 1\n                    continue\n",
        "yield place, sequence, 1\n                    break\n",
        (_POSITIONS,),
    ),
]

_TOO_EARLY = [
    Mutant(
        "changed_settings_answer_at_once",
        "Settings, tags and permissions that an SQS client has set are gone after a crash.",
        _QUEUES,
        "        finally:\n            self._core.confirm()\n",
        "        finally:\n            pass\n",
        (_ANSWERS,),
    ),
    Mutant(
        "named_queues_show_what_is_not_durable",
        "A page of queues has figures that a crash then undoes.",
        _QUERIES,
        "name not in outboxes], now_ms)\n            self._core.confirm()\n            yield from infos",
        "name not in outboxes], now_ms)\n            yield from infos",
        (_ANSWERS,),
    ),
]

_ONE_OFF = [
    Mutant(
        "a_key_lasts_a_millisecond_longer",
        "A message that is sent when the window has ended is taken for a duplicate, and lost.",
        "wonderq/state/dedup.py",
        "return found.value if found is not None and found.until_ms > now_ms else None",
        "return found.value if found is not None and found.until_ms >= now_ms else None",
        ("tests/broker/test_deduplication.py::test_a_key_is_forgotten_at_the_end_of_its_window",),
    ),
    Mutant(
        "the_longest_filter_is_refused",
        "A filter of the documented length is refused.",
        _REDRIVE,
        "1 <= len(text) <= MAX_FILTER_CHARACTERS",
        "1 <= len(text) < MAX_FILTER_CHARACTERS",
        (f"{_REDRIVES}::TestRefused::test_filters_of_the_greatest_length_are_taken",),
    ),
    Mutant(
        "a_key_expires_in_the_wrong_unit",
        "A key that has expired opens the broker for another thousand lives.",
        "wonderq/auth/keys.py",
        "self.expires_at.timestamp() <= now_s",
        "self.expires_at.timestamp() * 1000 <= now_s",
        ("tests/keys/test_keys_file.py::test_a_key_counts_until_it_expires",),
    ),
    Mutant(
        "dead_letters_are_counted_twice",
        "An alert rings for twice as many dead letters as there are.",
        _TRANSFERS,
        "dead_letters_moved += len(transfers)",
        "dead_letters_moved += 2 * len(transfers)",
        ("tests/broker/test_dead_letters.py::test_they_are_counted",),
    ),
    Mutant(
        "a_deleted_queue_is_freed_at_once",
        "Nobody gets an answer while a large queue is freed.",
        "wonderq/state/disposal.py",
        "            most -= 1\n",
        "",
        ("tests/broker/test_portions.py::test_a_unit_of_work_frees_sixteen_items",),
    ),
]

_WRONG_ONE = [
    Mutant(
        "a_claim_may_have_the_token_that_means_none",
        "One claim of four thousand million has a receipt that acts for nothing.",
        "wonderq/broker/claims.py",
        "            if token != NO_TOKEN:\n",
        "            if token >= NO_TOKEN:\n",
        ("tests/broker/test_receipts.py::test_no_claim_has_the_token_that_means_none",),
    ),
    Mutant(
        "a_portion_is_measured_by_its_last_message",
        "Many large dead letters are moved in one write, and everybody waits for it.",
        _TRANSFERS,
        "count, size = 1, views[0].length",
        "count, size = 1, views[-1].length",
        ("tests/broker/test_dead_letters.py::test_a_portion_has_the_first_that_fit",),
    ),
    Mutant(
        "a_groups_limit_counts_all_groups",
        "A busy tenant keeps all others waiting.",
        "wonderq/state/lanes.py",
        "group.in_flight >= self._in_flight_per_group)",
        "self.in_flight >= self._in_flight_per_group)",
        ("tests/broker/test_fairness.py",),
    ),
    Mutant(
        "results_of_a_batch_in_the_wrong_order",
        "A client takes the message that was refused for another one.",
        _CHANGES,
        "            self._core.confirm()\n        return results\n",
        "            self._core.confirm()\n        return results[::-1]\n",
        ("tests/broker/test_batches_of_receipts.py", "tests/broker/test_receipts.py"),
    ),
    Mutant(
        "a_consumer_sleeps_past_the_rate",
        "A consumer gets the next message at the end of its wait, however soon the rate allows it.",
        "wonderq/broker/rate_limits.py",
        "self.wait_s = min(self.wait_s, self._buckets",
        "_ = min(self.wait_s, self._buckets",
        ("tests/broker/test_rates.py::test_whoever_waits_sleeps_until_the_rate_allows_more",),
    ),
]

_LEFT = [
    Mutant(
        "a_purge_wakes_nobody",
        "A consumer waits for room in flight that a purge has made.",
        _QUEUES,
        "        self._core.consumers.notify(queue)  # more messages may be in flight now\n        return deleted",
        "        return deleted",
        ("tests/broker/test_waiting.py::test_a_purge_makes_room_in_flight_for_those_who_wait",),
        hangs=True,
    ),
    Mutant(
        "places_of_lanes_are_never_void",
        "Memory grows with each group that comes and goes.",
        "wonderq/state/lanes.py",
        "return lane is not None and lane.listed == key",
        "return True or lane is not None and key",
        ("tests/broker/test_columns.py::test_lanes_that_are_gone_leave_the_heap_of_open_lanes_in_portions",),
    ),
    Mutant(
        "deadlines_of_deleted_messages_stay",
        "Memory grows with each delayed message that is deleted, while one message of its page stays.",
        "wonderq/state/deadlines.py",
        "2 * page.live + _VOID_DEADLINES_OF_DELETED:",
        "2 * page.live + 100 * _VOID_DEADLINES_OF_DELETED:",
        ("tests/broker/test_columns.py::test_deadlines_of_deleted_messages_do_not_gather",),
    ),
    Mutant(
        "without_keys_made_up_ones_are_refused",
        "An SQS client with made-up credentials cannot send large messages to a broker without keys.",
        "wonderq/auth/access.py",
        "if self.open_to_all or self._rule",
        "if self._rule",
        ("tests/http/test_access.py::test_without_keys_a_large_body_is_awaited_whatever_its_header",),
    ),
]

MUTANTS = [*_FORGOTTEN, *_TOO_EARLY, *_ONE_OFF, *_WRONG_ONE, *_LEFT]
