"""Bugs in compaction and checkpoints."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MAINTENANCE = "wonderq/broker/maintenance.py"
_BACKGROUND = "wonderq/broker/background.py"
_COMPACTION = "wonderq/broker/compaction.py"
_COLUMNS = "wonderq/state/columns.py"
_TABLE = "wonderq/state/message_table.py"
_OF_MAINTENANCE = "tests/broker/test_maintenance.py"
_REWRITING = "tests/broker/test_rewriting.py"

MUTANTS = [
    Mutant(
        "compaction_loses_what_is_in_flight",
        "Compaction loses claimed messages.",
        _TABLE,
        "if page.position[start + offset] == position and page.status[start + offset] != GONE",
        "if page.position[start + offset] == position and page.status[start + offset] == WAITING",
        (f"{_REWRITING}::test_ids_and_receipts_stay_the_same",),
    ),
    Mutant(
        "compaction_loses_what_is_delayed",
        "Compaction loses delayed messages.",
        _TABLE,
        "if page.position[start + offset] == position and page.status[start + offset] != GONE",
        "if page.position[start + offset] == position and page.status[start + offset] not in (GONE, DELAYED)",
        (f"{_REWRITING}::test_delayed_messages_stay_delayed",),
    ),
    Mutant(
        "compaction_releases_everything",
        "Claims and delays end when their segment is compacted.",
        "wonderq/state/columns.py",
        "                claims += [self.state_of(view).stored for view in page.views(start, stop) if not view.is_pristine]\n",
        "                pass\n",
        (f"{_REWRITING}::test_all_that_can_be_seen_of_messages_lasts",),
    ),
    Mutant(
        "compaction_loses_the_receive_count",
        "A message that came back looks new after compaction.",
        _COLUMNS,
        "                or any(page.receives[start:stop])\n",
        "",
        (f"{_REWRITING}::test_all_that_can_be_seen_of_messages_lasts",),
    ),
    Mutant(
        "compaction_voids_receipts",
        "A consumer's receipt is stale once the segment was compacted.",
        _COLUMNS,
        "        page.token[index] = state.token\n",
        "",
        (f"{_REWRITING}::test_ids_and_receipts_stay_the_same",),
    ),
    Mutant(
        "compaction_makes_old_messages_new",
        "A message's age begins anew with each compaction.",
        _COMPACTION,
        "                produced_ms, claims = queue.messages.rewrite_fields(runs)\n",
        "                produced_ms, claims = queue.messages.rewrite_fields(runs)\n"
        "                produced_ms = [now_ms] * len(produced_ms)\n",
        (f"{_REWRITING}::test_all_that_can_be_seen_of_messages_lasts",),
    ),
    Mutant(
        "compaction_loses_changed_bodies",
        "Compaction loses messages whose body was replaced.",
        "wonderq/state/record_contents.py",
        "        case Update() if record.runs:\n",
        "        case Update() if not record:\n",
        (f"{_REWRITING}::test_the_newest_body_counts",),
    ),
    Mutant(
        "compaction_brings_back_old_bodies",
        "A replaced body is back once the old one's segment was compacted.",
        _TABLE,
        "expected = positions[index : index + stop - start]",
        "expected = page.position[start:stop]",
        (f"{_REWRITING}::test_the_newest_body_counts",),
    ),
    Mutant(
        "compaction_brings_back_the_deleted",
        "A deleted message is back once its segment was compacted.",
        _TABLE,
        "if page.position[start:stop] == expected and page.status.find(GONE, start, stop) < 0:",
        "if page.position[start:stop] == expected:",
        (f"{_REWRITING}::test_what_was_deleted_before_stays_deleted",),
    ),
    Mutant(
        "dropped_before_the_copies_are_durable",
        "A power cut during compaction loses messages.",
        _COMPACTION,
        "    log.sync()\n    log.trim(end)\n",
        "    log.trim(end)\n",
        ("tests/broker/test_compaction_order.py::test_the_copies_are_durable_before_the_originals_go",),
    ),
    Mutant(
        "one_kind_of_task_is_restated",
        "After a compaction and a restart the schedules, or the redrives, are gone.",
        "wonderq/broker/compaction.py",
        "for namespace, entries in state.metadata.items()]",
        "for namespace, entries in list(state.metadata.items())[:1]]",
        ("tests/broker/test_lasting_tasks.py::test_all_tasks_of_all_kinds_last",),
    ),
    Mutant(
        "one_task_of_a_kind_is_restated",
        "After a compaction and a restart all schedules but one are gone.",
        "wonderq/broker/compaction.py",
        "stored = [(namespace, list(entries)) for",
        "stored = [(namespace, list(entries)[:1]) for",
        ("tests/broker/test_lasting_tasks.py::test_all_tasks_of_all_kinds_last",),
    ),
    Mutant(
        "compaction_rewrites_all_names_in_one_hold",
        "While a segment with many queues or schedules is compacted, nobody gets an answer for half a second.",
        _COMPACTION,
        "at + _RECORDS_OF_A_PORTION]",
        "at + 10 * _RECORDS_OF_A_PORTION]",
        ("tests/broker/test_compaction_order.py::test_no_portion_of_the_rewriting_holds_the_lock_for_long",),
    ),
    Mutant(
        "names_not_restated",
        "Once the segment that names them was compacted, queues are lost and the start is refused.",
        _COMPACTION,
        "    _rewrite_queues(broker, end)\n",
        "",
        (f"{_REWRITING}::test_every_end_of_a_log_that_compaction_can_leave_says_the_same",),
    ),
    Mutant(
        "segment_dropped_half_copied",
        "A stop during a compaction loses the messages that were not copied yet.",
        _COMPACTION,
        "                if rest(time.monotonic() - began):\n                    return False\n",
        "                if rest(time.monotonic() - began):\n                    break\n",
        (f"{_OF_MAINTENANCE}::test_a_stop_does_not_wait_for_the_segment_to_be_copied",),
    ),
    Mutant(
        "damage_with_live_messages_is_dropped",
        "Messages vanish in silence, with the damaged segment that held them.",
        _COMPACTION,
        "        if _holds_any_before(broker, end):\n            raise\n",
        "        if not end:\n            raise\n",
        (f"{_OF_MAINTENANCE}::test_damage_ends_it_and_nothing_is_dropped",),
    ),
    Mutant(
        "compaction_fills_the_disk",
        "Compaction uses up the room that claiming and deleting need.",
        _COMPACTION,
        "append_and_apply(fields, leave=COMPACTION_LEAVES)",
        "append_and_apply(fields)",
        ("tests/broker/test_compaction_order.py::test_compaction_leaves_the_room_that_claiming_and_deleting_need",),
    ),
    Mutant(
        "checkpoint_ahead_of_the_log",
        "A checkpoint has records that a power cut then takes out of the log: the start is refused.",
        _MAINTENANCE,
        "        log.sync()\n        return checkpoints.write",
        "        return checkpoints.write",
        (f"{_OF_MAINTENANCE}::test_the_log_behind_a_checkpoint_is_durable_first",),
    ),
    Mutant(
        "mark_taken_later_than_the_snapshot",
        "A record that came between the two is in neither, and lost at a start from that checkpoint.",
        _MAINTENANCE,
        "        snapshot, mark = state.begin_snapshot(), log.mark()\n    try:\n",
        "        snapshot = state.begin_snapshot()\n    mark = log.mark()\n    try:\n",
        ("tests/broker/test_compaction_order.py::test_a_checkpoint_s_mark_is_of_the_same_moment_as_its_contents",),
    ),
    Mutant(
        "checkpoint_over_damage",
        "A last checkpoint hides the damage that ended maintenance from the next start.",
        _MAINTENANCE,
        " and not self._has_failed:",
        ":",
        (f"{_OF_MAINTENANCE}::test_damage_ends_it_and_nothing_is_dropped",),
    ),
    Mutant(
        "full_disk_ends_maintenance",
        "After the disk was full once, nothing is compacted any more.",
        _BACKGROUND,
        "                self._stop.wait(_PAUSE_TICKS * self._tick_s)\n",
        "                self._fail()\n",
        (f"{_OF_MAINTENANCE}::test_on_a_full_disk_nothing_is_dropped_and_it_goes_on_later",),
    ),
    Mutant(
        "idle_background_work_outlives_its_broker",
        "After each shard that a node loses, threads of its former broker go on for the life of the process.",
        _BACKGROUND,
        "        if core.transaction.ended is not None or core.log.failure is not None:\n",
        "        if False:\n",
        ("tests/broker/test_lost_log.py::test_background_work_that_has_nothing_to_do_ends_too",),
    ),
    Mutant(
        "compaction_drops_what_ends_at_the_border",
        "On a log without gaps between its parts, compaction loses the identity of the log.",
        _COMPACTION,
        "state.identity_at <= end",
        "state.identity_at < end",
        (f"{_REWRITING}::test_the_identity_alone_is_kept",),
    ),
]
