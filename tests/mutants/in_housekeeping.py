"""Bugs in housekeeping: retention, redrives, schedules."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_HOUSEKEEPING = "wonderq/broker/housekeeping.py"
_PAGE = "wonderq/state/page.py"
_REDRIVE = "wonderq/broker/redrive.py"
_SCHEDULES = "wonderq/broker/schedules.py"
_CRON = "wonderq/broker/cron.py"
_OF_HOUSEKEEPING = "tests/broker/test_housekeeping.py"
_OF_DELETED = "tests/broker/test_deleted_queues.py"
_OF_REDRIVES = "tests/broker/test_redrive.py"
_OF_METRICS = "tests/http/test_metrics.py"
_OF_SCHEDULES = "tests/broker/test_schedules.py"

MUTANTS = [
    Mutant(
        "a_delay_counts_as_a_wait",
        "The alert on old messages fires when a message with a long delay becomes available.",
        "wonderq/state/columns.py",
        "return view.first_claimed_ms or max(view.produced_ms, view.due_ms)\n",
        "return view.produced_ms\n",
        (f"{_OF_METRICS}::test_the_wait_of_the_oldest_message_leaves_out_delays_and_claims",),
    ),
    Mutant(
        "dead_letters_that_move_are_not_counted",
        "No alert fires for messages that reach a dead-letter queue.",
        "wonderq/broker/transfers.py",
        "                self._core.counters.of(queue.name).dead_letters_moved += len(transfers)\n",
        "",
        (f"{_OF_METRICS}::test_dead_letters_are_counted_whether_moved_or_buried",),
    ),
    Mutant(
        "a_claim_of_the_future_lasts_until_then",
        "After a reset of the clock, claims that began under the wrong clock last for days.",
        "wonderq/folder/reset_clock.py",
        "            is_wrong = due_ms - state.timeout_ms > now_ms\n",
        "            is_wrong = False\n",
        ("tests/tools/test_reset_clock.py::test_the_broker_continues_at_the_right_time_with_everything",),
    ),
    Mutant(
        "a_schedule_waits_for_the_future",
        "After a reset of the clock, schedules stand still until the wrong time has come.",
        "wonderq/folder/reset_clock.py",
        '            after["next_ms"] = next(times_after(value["cron"], value["timezone"], now_ms), None)\n',
        '            after["next_ms"] = value["next_ms"]\n',
        ("tests/tools/test_reset_clock.py::test_the_broker_continues_at_the_right_time_with_everything",),
    ),
    Mutant(
        "a_whole_page_is_not_old_if_its_newest_is_young",
        "Young messages leave with the old ones of their page.",
        _PAGE,
        "if max(self.produced_ms[start:stop]) < before_ms:",
        "if min(self.produced_ms[start:stop]) < before_ms:",
        (f"{_OF_HOUSEKEEPING}::test_all_that_is_older_and_nothing_else",),
    ),
    Mutant(
        "retention_only_for_busy_queues",
        "Expired messages stay in a queue without consumers.",
        _HOUSEKEEPING,
        "            self._due_ms = self._broker.upkeep(self._rest)\n",
        "",
        (f"{_OF_HOUSEKEEPING}::test_old_messages_leave_a_queue_that_nobody_uses",),
    ),
    Mutant(
        "an_idle_housekeeper_sleeps_through_a_deadline",
        "Claims of a queue that nobody uses end only when something else happens.",
        _HOUSEKEEPING,
        " and now_ms < self._due_ms\n",
        "\n",
        (f"{_OF_HOUSEKEEPING}::TestIdle",),
    ),
    Mutant(
        "an_idle_housekeeper_forgets_retention",
        "Expired messages stay until something else happens.",
        "wonderq/broker/upkeep.py",
        "    if retention_ms:\n",
        "    if False:\n",
        (f"{_OF_HOUSEKEEPING}::TestIdle",),
    ),
    Mutant(
        "one_portion_comes_back",
        "Messages that a former limit of receives set aside stay there, but for one portion.",
        "wonderq/broker/claims.py",
        "                return [], False\n",
        "                return [], True\n",
        (f"{_OF_HOUSEKEEPING}::TestIdle",),
    ),
    Mutant(
        "a_dead_housekeeper_looks_alive",
        "The metric shows a housekeeper that has ended as running.",
        _HOUSEKEEPING,
        "        self._broker.counters.housekeeper_runs = False\n",
        "",
        (f"{_OF_HOUSEKEEPING}::test_a_mistake_ends_it_and_is_loud",),
    ),
    Mutant(
        "redrive_takes_what_came_later",
        "A redrive does not end as long as messages arrive.",
        _REDRIVE,
        "views = [view for view in after if view.sequence < redrive.end_sequence]",
        "views = list(after)",
        (f"{_OF_REDRIVES}::TestWhich",),
    ),
    Mutant(
        "redrive_takes_what_somebody_holds",
        "A message that was claimed meanwhile is with its consumer, and in another queue.",
        _REDRIVE,
        "if message is not None and self._transfers.is_unchanged(queue, message):",
        "if message is not None and queue.messages.find(view.sequence) is not None:",
        (f"{_OF_REDRIVES}::TestMeanwhile",),
    ),
    Mutant(
        "redrive_passes_over_what_compaction_moves",
        "A message that was copied within the log meanwhile stays behind.",
        _REDRIVE,
        "if found is not None and found.status in MOVABLE:",
        "if False:",
        (f"{_OF_REDRIVES}::TestMeanwhile",),
    ),
    Mutant(
        "redrive_keeps_the_origin",
        "A message that was brought back still looks like a dead letter.",
        "wonderq/broker/transfers.py",
        'if name not in ("origin", FAILURE_HEADER)',
        "if name not in (FAILURE_HEADER,)",
        (f"{_OF_REDRIVES}::TestWhereTo",),
    ),
    Mutant(
        "redrive_forgets_its_progress",
        "The messages that a redrive moves are not counted.",
        _REDRIVE,
        "self._transfers.move(queue, now_ms, transfers, records, leave=PRODUCE_LEAVES)",
        "self._transfers.move(queue, now_ms, transfers, leave=PRODUCE_LEAVES)",
        (f"{_OF_REDRIVES}::TestRestart",),
    ),
    Mutant(
        "a_cancelled_redrive_moves_on",
        "A portion that was read before is moved after the redrive was cancelled.",
        _REDRIVE,
        "                return  # it was cancelled meanwhile, or its source was deleted\n",
        "                pass\n",
        (f"{_OF_REDRIVES}::TestMeanwhile",),
    ),
    Mutant(
        "redrives_outlive_their_queue",
        "The redrives of a deleted queue fill memory and log, and can still be cancelled.",
        _REDRIVE,
        "self._core.append_and_apply(drop, *(_deleted(each.id, drop.at_ms) for each in redrives), *also)",
        "self._core.append_and_apply(drop, *also)",
        (f"{_OF_DELETED}::test_its_redrives_are_deleted_in_the_same_write",),
    ),
    Mutant(
        "a_dropped_redrive_stays_due",
        "Housekeeping ends with an error, because a redrive is due that was deleted with its queue.",
        _REDRIVE,
        "        for each in redrives:\n            self._running.pop(each.id, None)\n",
        "",
        (f"{_OF_DELETED}::test_nothing_of_it_is_left_in_memory",),
    ),
    Mutant(
        "redrives_of_former_queues_stay",
        "Redrives that an earlier program left behind stay in memory and log for ever.",
        _REDRIVE,
        ' or state.find(each.value["queue_number"]) is None',
        "",
        (f"{_OF_DELETED}::test_redrives_that_an_earlier_program_left_behind_are_deleted",),
    ),
    Mutant(
        "missed_times_are_always_made_up_for",
        "After a week without the broker, a schedule floods its queue.",
        _SCHEDULES,
        '"skip": late[:0]',
        '"skip": late',
        (f"{_OF_SCHEDULES}::TestMissed",),
    ),
    Mutant(
        "schedules_fire_and_nobody_syncs",
        "After a power cut, messages of schedules are gone, and sent again later than they were due.",
        _SCHEDULES,
        "                break\n        self._sync()\n",
        "                break\n",
        (f"{_OF_SCHEDULES}::TestChanging::test_those_that_are_due_together_share_syncs",),
    ),
    Mutant(
        "each_schedule_waits_for_its_own_sync",
        "If thousands of schedules are due at midnight, the last ones are sent a minute later.",
        _SCHEDULES,
        "if self._unsynced_bytes >= _PORTION_BYTES:",
        "if True:",
        (f"{_OF_SCHEDULES}::TestChanging::test_those_that_are_due_together_share_syncs",),
    ),
    Mutant(
        "page_of_schedules_begins_with_the_last",
        "The last schedule of a page is the first of the next one, too, and a client that reads all never ends.",
        _SCHEDULES,
        "each[0] > after and",
        "each[0] >= after and",
        (f"{_OF_SCHEDULES}::TestLists::test_pages_by_name",),
    ),
    Mutant(
        "a_schedule_fires_as_it_was",
        "A schedule that was changed meanwhile produces the old message.",
        _SCHEDULES,
        "if not _has_value(state, schedule.name, value):\n                return None",
        "if _metadata(state, schedule.name) is None:\n                return None",
        (f"{_OF_SCHEDULES}::TestChanging",),
    ),
    Mutant(
        "made_up_for_again_after_a_crash",
        "A crash while missed times are made up for repeats all of them.",
        _SCHEDULES,
        "next_ms = left_ms[0] if left_ms else plan.next_ms",
        "next_ms = value['next_ms'] if left_ms else plan.next_ms",
        (f"{_OF_SCHEDULES}::TestMissed",),
    ),
    Mutant(
        "twice_when_clocks_are_put_back",
        "A schedule is due in the past when clocks are put back.",
        _CRON,
        "        if time_ms > last_ms:\n",
        "        if time_ms != last_ms:\n",
        (f"{_OF_SCHEDULES}::TestTimes",),
    ),
]
