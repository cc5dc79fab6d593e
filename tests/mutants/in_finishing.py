"""Bugs in `next`, failures, names of consumers, polls of several queues, and in what changes between two steps."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FINISHING = "wonderq/broker/finishing.py"
_UPDATES = "wonderq/broker/updates.py"
_CHANGES = "wonderq/broker/changes.py"
_TRANSFERS = "wonderq/broker/transfers.py"
_POLLS = "wonderq/broker/polls.py"
_CLAIMS = "wonderq/broker/claims.py"
_COLUMNS = "wonderq/state/columns.py"
_MOVES = "wonderq/broker/moves.py"
_READER = "wonderq/broker/reader.py"
_PUBLISH = "wonderq/broker/publish.py"
_RESOURCE = "wonderq/rest/resource.py"
_NEXT = "tests/broker/test_next.py"
_FAILURES = "tests/broker/test_failures.py"
_SEVERAL = "tests/broker/test_several_queues.py"
_NAMES = "tests/broker/test_consumer_names.py"
_HTTP = "tests/http/test_next.py"
_DEAD = "tests/broker/test_dead_letters.py"
_MANY_DEAD = "tests/broker/test_many_dead_letters.py"
_IN_TURNS = "tests/broker/test_publish_in_turns.py"
_OF_MOVES = "tests/broker/test_moves.py"

MUTANTS = [
    Mutant(
        "next_finishes_in_pieces",
        "After a crash a message is in the dead-letter queue and still in its own.",
        _CHANGES,
        "        core.append_and_apply(*records, leave=leave)\n",
        "        for each in records:\n            core.append_and_apply(each, leave=leave)\n",
        (f"{_NEXT}::test_a_crash_leaves_all_that_was_finished_or_nothing",),
    ),
    Mutant(
        "repeated_poll_leaves_the_first_waiting",
        "A message is claimed for a connection that broke without notice, while its consumer asks for it over another one.",
        _POLLS,
        "                core.consumers.replace(self._attempt)\n",
        "                pass\n",
        ("tests/broker/test_waiting.py::test_each_repetition_of_an_attempt_ends_the_one_before",),
        hangs=True,
    ),
    Mutant(
        "late_failure_names_nobody",
        "A failure that was reported after the deadline of its claim does not show which worker had it.",
        _UPDATES,
        "wanted.consumer or change.reporter",
        "wanted.consumer",
        (f"{_NAMES}::test_a_failure_names_its_reporter_if_the_claim_has_no_name",),
    ),
    Mutant(
        "reporter_goes_before_the_claim",
        "A failure shows the name that its reporter gave, and not that of the consumer that had the message.",
        _UPDATES,
        "wanted.consumer or change.reporter",
        "change.reporter or wanted.consumer",
        (f"{_NAMES}::test_a_failure_names_its_reporter_if_the_claim_has_no_name",),
    ),
    Mutant(
        "next_waits_before_it_is_durable",
        "A consumer waits for its next message, and a power cut undoes the deletion of its last one.",
        _POLLS,
        "        if self._must_sync:\n            self._core.wait_until_durable()\n",
        "        if self._must_sync:\n",
        (f"{_NEXT}::test_what_was_finished_is_durable_before_the_poll_sleeps",),
    ),
    Mutant(
        "next_finishes_messages_of_others",
        "A client deletes the messages of another tenant, whose receipts it has seen.",
        _FINISHING,
        "if queue is not None and not permits(queue.name):",
        "if queue is None and not permits(None):",
        (f"{_NEXT}::test_a_message_of_a_queue_that_is_not_the_client_s_finishes_nothing",),
    ),
    Mutant(
        "repeated_next_finishes_again",
        "A client that lost an answer is told that its own deletion failed.",
        _FINISHING,
        "if attempt is not None and (before",
        "if attempt is None and (before",
        (f"{_NEXT}::test_a_repeated_attempt_gets_the_same_results_and_messages",),
    ),
    Mutant(
        "attempt_hides_another_finish",
        "A message is reported as deleted, and delivered again.",
        _FINISHING,
        "if before is None or before[0] != self.fingerprint:",
        "if before is None:",
        (f"{_NEXT}::test_an_attempt_that_finishes_others_is_another_one",),
    ),
    Mutant(
        "refused_claim_hides_the_results",
        "A consumer does not learn what it has finished, because its queue has enough in flight.",
        _FINISHING,
        "except (BrokerError, DiskFullError) as error:",
        "except DiskFullError as error:",
        (f"{_NEXT}::test_a_refused_claim_leaves_what_was_finished",),
    ),
    Mutant(
        "deleted_and_released_in_one_request",
        "A request that names a message twice deletes it and releases another one's place.",
        _FINISHING,
        "seen = set(record.from_runs(runs)) if part.updates else set()",
        "seen = set()",
        (f"{_NEXT}::test_each_entry_has_its_own_result",),
    ),
    Mutant(
        "dead_letters_of_two_queues_in_one_place",
        "Messages of two queues that die in one request overwrite each other.",
        _TRANSFERS,
        "by_target.setdefault(each.target, []).append(each)",
        "by_target.setdefault(each.target, [])[:] = [each]",
        (f"{_NEXT}::test_messages_of_several_queues",),
    ),
    Mutant(
        "error_refused_by_a_full_queue",
        "A consumer cannot report why its messages fail, so they fail for ever.",
        _UPDATES,
        "        if change.replaces_contents:\n            self._any_replaced = True\n",
        "        if True:\n            self._any_replaced = True\n",
        (f"{_FAILURES}::test_no_limit_of_sizes_refuses_the_largest_error",),
    ),
    Mutant(
        "undone_receive_counts",
        "A worker that is restarted often turns good messages into dead letters.",
        _UPDATES,
        "receives = max(view.receives - 1, 0)",
        "receives = view.receives",
        (f"{_FAILURES}::test_an_uncounted_release_undoes_the_receive",),
    ),
    Mutant(
        "anybody_undoes_a_receive",
        "A poisonous message is delivered for ever.",
        _UPDATES,
        "    if target.receipt is None:\n        raise InvalidValueError(",
        "    if False:\n        raise InvalidValueError(",
        (f"{_FAILURES}::test_only_the_holder_may_undo_a_receive",),
    ),
    Mutant(
        "redrive_keeps_the_last_error",
        "An operator sees an old error on a message that starts afresh.",
        "wonderq/broker/transfers.py",
        'if name not in ("origin", FAILURE_HEADER)',
        'if name not in ("origin",)',
        (f"{_FAILURES}::test_a_redriven_message_starts_without_it",),
    ),
    Mutant(
        "claim_names_nobody",
        "A consumer is given a message that nobody holds, by its own account.",
        _READER,
        'return [consumers.get(token, "")] * len(state.token)',
        'return [""] * len(state.token)',
        (f"{_NAMES}::test_a_message_is_shown_with_its_consumer_though_the_claim_ends_before_it_is_read",),
    ),
    Mutant(
        "failure_names_who_held_the_message_before",
        "Whether a late failure names its worker depends on who has read the queue meanwhile.",
        _UPDATES,
        "_Wanted(place, view, queue.messages.consumer_of(view.at(now_ms)))",
        "_Wanted(place, view, queue.messages.consumer_of(view))",
        (f"{_NAMES}::test_a_failure_after_the_deadline_names_nobody_whether_or_not_the_queue_was_looked_at",),
    ),
    Mutant(
        "name_outlives_its_claim",
        "The broker's memory grows with each claim.",
        _COLUMNS,
        "        if old == CLAIMED != status and self.claim_names.by_token:\n",
        "        if False:\n",
        (f"{_NAMES}::test_the_name_is_gone_with_the_claim",),
    ),
    Mutant(
        "name_lost_by_compaction",
        "Nobody can tell who holds a message, once the log was compacted.",
        "wonderq/state/record.py",
        "return self if self.consumer else self[:-1]",
        "return self[:-1]",
        (f"{_NAMES}::test_messages_show_who_holds_them",),
    ),
    Mutant(
        "names_without_a_bound",
        "A client fills the memory with names.",
        _CLAIMS,
        "if consumer and len(messages.claim_names.by_token) < MAX_NAMED_CLAIMS:",
        "if consumer:",
        (f"{_NAMES}::test_claims_beyond_the_limit_have_no_name",),
    ),
    Mutant(
        "several_queues_fill_a_response_each",
        "One response takes the memory of thirty-two.",
        _CLAIMS,
        "        if taken_bytes and runs:\n",
        "        if False:\n",
        (f"{_SEVERAL}::test_one_response_has_no_more_bytes_than_that_of_one_queue",),
    ),
    Mutant(
        "waits_in_the_first_queue_only",
        "A job waits although its workers are idle.",
        _POLLS,
        "                        if left_s > 0:\n",
        "                        if left_s > 0 and self._waiter is None:\n",
        (f"{_SEVERAL}::test_a_message_of_any_queue_ends_the_wait",),
        hangs=True,
    ),
    Mutant(
        "weights_without_effect",
        "An unimportant queue gets as many workers as the important one.",
        _POLLS,
        "random.expovariate(weight) for weight",
        "random.expovariate(1) for weight",
        (f"{_SEVERAL}::test_by_weight",),
    ),
    Mutant(
        "a_key_polls_the_queues_of_others",
        "A client receives the messages of another tenant.",
        _RESOURCE,
        '        for name in sources.queues:\n            self.check_queue(req, "consume", name)\n',
        '        self.check_queue(req, "consume", sources.queues[0])\n',
        (f"{_HTTP}::test_a_key_must_open_every_queue_of_a_poll",),
    ),
    Mutant(
        "dead_letter_goes_where_it_should_have_gone_before",
        "A dead-letter queue that was replaced and deleted is there again, with a message that nobody looks for.",
        _TRANSFERS,
        "        settings.dead_letter_queue == decided_by.dead_letter_queue\n",
        "        True\n",
        (f"{_DEAD}::test_settings_that_change_before_a_dead_letter_leaves_count",),
    ),
    Mutant(
        "dead_letter_by_a_limit_of_before",
        "A message is buried although its queue was just told to try it for ever.",
        _TRANSFERS,
        "        and settings.max_receives == decided_by.max_receives\n        and 0 < settings.max_receives <= view.receives\n",
        "",
        (f"{_DEAD}::test_settings_that_change_before_a_dead_letter_leaves_count",),
    ),
    Mutant(
        "dead_letter_by_a_limit_that_it_was_not_found_with",
        "A message becomes a dead letter although its queue was just told to try it more often.",
        _TRANSFERS,
        "        and 0 < settings.max_receives <= view.receives\n",
        "",
        (f"{_DEAD}::test_settings_that_change_before_a_dead_letter_leaves_count",),
    ),
    Mutant(
        "dead_letter_leaves_a_paused_queue",
        "A queue that was paused for a look at its messages loses one after that.",
        _TRANSFERS,
        "        and not settings.paused\n",
        "",
        (f"{_DEAD}::test_settings_that_change_before_a_dead_letter_leaves_count",),
    ),
    Mutant(
        "buried_by_settings_of_before",
        "A dead letter stays in its queue, buried, although that has a dead-letter queue by now.",
        _TRANSFERS,
        "dead = _still_dead(queue, views, settings)",
        "dead = _still_dead(queue, views, queue.settings)",
        (f"{_DEAD}::test_settings_that_change_before_a_dead_letter_leaves_count",),
    ),
    Mutant(
        "set_aside_by_a_limit_of_before",
        "A higher limit of receives saves some hundred of the messages that are set aside, and the others are dead letters.",
        _CLAIMS,
        "            if messages.is_to_put_back(receives):  #",
        "            if False:  #",
        (f"{_MANY_DEAD}::test_they_are_given_back_without_a_consumer_too",),
    ),
    Mutant(
        "lower_limit_finds_nothing",
        "Messages that a lower limit of receives makes dead letters stay where they are until somebody consumes.",
        _CLAIMS,
        "    return queue.settings.max_receives, queue.messages.next_sequence,",
        "    return queue.messages.next_sequence,",
        (f"{_MANY_DEAD}::test_a_lower_limit_counts_without_a_consumer_too",),
    ),
    Mutant(
        "compaction_keeps_a_message_from_moving",
        "An operator is told that a waiting message cannot be moved, since the broker has tidied its log.",
        _MOVES,
        "if now is not None and now.status in MOVABLE:\n",
        "if False:\n",
        (f"{_OF_MOVES}::test_messages_that_compaction_moves_while_they_are_read_move_all_the_same",),
    ),
    Mutant(
        "message_is_moved_with_contents_of_before",
        "A message that was updated while it moved has its old contents in the other queue.",
        _MOVES,
        "if message is not None and not self._transfers.is_unchanged(queue, message):\n",
        "if False:\n",
        (f"{_OF_MOVES}::test_a_message_that_gets_other_contents_while_it_is_read_moves_with_them",),
    ),
    Mutant(
        "deleted_queue_is_counted_again",
        "The metrics show a queue that was deleted, and for ever.",
        _PUBLISH,
        "                if core.state.find(queue.number) is queue:\n",
        "                if True:\n",
        (f"{_IN_TURNS}::test_what_is_deleted_before_its_messages_are_counted_has_no_counters",),
    ),
    Mutant(
        "deleted_topic_is_counted_again",
        "The metrics show a topic that was deleted, and for ever.",
        _PUBLISH,
        "core.counters.of_topic(topic.name) if is_there else TopicCounters()",
        "core.counters.of_topic(topic.name)",
        (f"{_IN_TURNS}::test_what_is_deleted_before_its_messages_are_counted_has_no_counters",),
    ),
    Mutant(
        "ended_subscription_is_counted_again",
        "The metrics show a subscription that has ended, and for ever.",
        _PUBLISH,
        "            if subscription.name not in topic.subscriptions:\n                counters.forget(subscription.name)\n",
        "",
        (f"{_IN_TURNS}::test_what_is_deleted_before_its_messages_are_counted_has_no_counters",),
    ),
]
