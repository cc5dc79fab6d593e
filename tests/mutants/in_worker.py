"""Bugs in workers, tasks and schedules from code."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CLAIMS = "wonderq/worker/claims.py"
_ENGINE = "wonderq/worker/engine.py"
_OUTCOMES = "wonderq/worker/outcomes.py"
_POLICY = "wonderq/worker/policy.py"
_SIGNALS = "wonderq/worker/signals.py"
_SOURCE = "wonderq/worker/broker_source.py"
_SUPERVISOR = "wonderq/worker/supervisor.py"
_TEST_ENGINE = "tests/worker/test_engine.py"
_TEST_SHARDS = "tests/worker/test_shards.py"
_TEST_SHUTDOWN = "tests/worker/test_shutdown.py"
_TEST_BROKER = "tests/worker/test_broker.py"
_TEST_SUPERVISOR = "tests/worker/test_supervisor.py"
_TEST_TASKS = "tests/worker/test_tasks.py"
_TEST_COMMAND = "tests/worker/test_command.py"

MUTANTS = [
    Mutant(
        "renews_at_the_end_of_the_lease",
        "Another worker runs the same task, because the first renewal comes when the lease has ended.",
        _CLAIMS,
        "RENEW_AT = 1 / 3\n",
        "RENEW_AT = 1\n",
        (f"{_TEST_ENGINE}::test_all_claims_are_renewed_together_at_a_third_of_the_lease",),
    ),
    Mutant(
        "failed_renewal_waits_for_the_next_turn",
        "A short outage of the broker makes others run the tasks that still run here.",
        _CLAIMS,
        "self.renew_s = now_s + min(self.job.policy.lease * RENEW_AT, _REPEAT_S)",
        "self.renew_s = now_s + self.job.policy.lease",
        (f"{_TEST_ENGINE}::test_a_failed_renewal_is_repeated_before_the_lease_ends",),
    ),
    Mutant(
        "lost_claim_is_not_noticed",
        "A task goes on with its work after the broker has refused the renewal, and another worker does it too.",
        _ENGINE,
        "                    else:\n                        claim.state = State.LOST\n",
        "                    elif False:\n                        claim.state = State.LOST\n",
        (f"{_TEST_ENGINE}::test_a_lost_claim_is_told_to_its_handler_and_not_acknowledged",),
    ),
    Mutant(
        "result_of_a_lost_claim_is_acknowledged",
        "A worker that lost its lease tells the broker to delete what another worker has.",
        _ENGINE,
        "if claim.state is State.HELD and not isinstance(error, LeaseLost):",
        "if not isinstance(error, LeaseLost):",
        (f"{_TEST_ENGINE}::test_a_handler_that_ignores_a_lost_claim_is_not_acknowledged_either",),
    ),
    Mutant(
        "ended_lease_is_not_noticed",
        "A worker that was cut off from the broker acknowledges what others have run meanwhile.",
        _CLAIMS,
        "if self.state is not State.HELD or self.ends_s > now_s:",
        "if True:",
        (f"{_TEST_ENGINE}::test_a_claim_that_could_not_be_renewed_until_its_end_is_lost",),
    ),
    Mutant(
        "results_are_dropped_when_a_poll_fails",
        "Finished tasks run again after each restart of the broker.",
        _ENGINE,
        """        except BaseException:
            with self._lock:
                self._settlements[:0] = settlements
            raise
""",
        "        except BaseException:\n            raise\n",
        (f"{_TEST_ENGINE}::test_results_survive_an_outage_of_the_broker",),
        hangs=True,
    ),
    Mutant(
        "poll_with_results_waits",
        "A worker learns of a refused result only with the next message.",
        _ENGINE,
        "wait_s = 0.0 if settlements else POLL_S",
        "wait_s = POLL_S",
        (f"{_TEST_ENGINE}::test_a_poll_that_settles_something_does_not_wait",),
    ),
    Mutant(
        "poll_without_results_asks_in_vain",
        "A worker makes a request more for each message that takes longer than a moment.",
        _ENGINE,
        "wait_s = 0.0 if settlements else POLL_S",
        "wait_s = 0.0 if self._is_busy else POLL_S",
        (f"{_TEST_ENGINE}::test_a_poll_waits_unless_it_settles_something",),
    ),
    Mutant(
        "results_wait_for_the_long_poll",
        "A finished task counts as running for up to 20 seconds, and runs again if its worker is killed.",
        _ENGINE,
        "return self._polls_soon and self._slots.free > 0 and not self.is_stopping",
        "return self._slots.free > 0 and not self.is_stopping",
        (f"{_TEST_ENGINE}::test_a_result_does_not_wait_for_the_end_of_a_long_poll",),
        hangs=True,
    ),
    Mutant(
        "refused_claim_is_asked_for_at_once",
        "A worker whose claims are refused asks without a pause, and nobody learns why it stands still.",
        _ENGINE,
        "            raise answer.claim_error\n",
        "            pass\n",
        (f"{_TEST_ENGINE}::test_a_refused_claim_is_told_and_asked_for_again_after_growing_pauses",),
        hangs=True,
    ),
    Mutant(
        "refused_claim_is_not_passed_on",
        "A worker whose claims are refused asks without a pause.",
        _SOURCE,
        "refused, answer.claim_error)",
        "refused)",
        (f"{_TEST_BROKER}::test_a_poll_tells_why_the_broker_gives_no_messages",),
    ),
    Mutant(
        "takes_more_than_its_slots",
        "Messages wait in a busy worker while others are idle.",
        _ENGINE,
        "answer = self._source.next(settlements, free, wait_s)",
        "answer = self._source.next(settlements, free + 1, wait_s)",
        (f"{_TEST_ENGINE}::test_no_more_messages_are_asked_for_than_slots_are_free",),
    ),
    Mutant(
        "one_try_too_many",
        "A task with retries=0, which must not run twice, does.",
        _OUTCOMES,
        "message.tries > policy.retries:",
        "message.tries > policy.retries + 1:",
        (f"{_TEST_ENGINE}::test_the_last_failure_is_a_dead_letter",),
    ),
    Mutant(
        "deadly_message_goes_round",
        "A message that kills its worker kills all workers for ever.",
        _ENGINE,
        "if message.tries > job.policy.retries + 1:",
        "if False:",
        (f"{_TEST_ENGINE}::test_a_message_that_kills_its_workers_becomes_a_dead_letter",),
        hangs=True,
    ),
    Mutant(
        "jitter_beyond_the_longest_pause",
        "A retry comes later than the longest pause that the task allows.",
        _POLICY,
        "pause / 2 + pause / 2 * random()",
        "pause / 2 + pause * random()",
        (f"{_TEST_ENGINE}::test_the_backoff_doubles_within_its_bounds_and_its_upper_half_is_random",),
    ),
    Mutant(
        "retries_all_at_once",
        "All tasks that failed together, because a service was overloaded, call it again together.",
        _POLICY,
        "pause / 2 + pause / 2 * random()",
        "pause",
        (f"{_TEST_ENGINE}::test_the_backoff_doubles_within_its_bounds_and_its_upper_half_is_random",),
    ),
    Mutant(
        "stop_without_a_grace",
        "Each deployment interrupts all running tasks.",
        _ENGINE,
        "left_s = self._stop_s + self._grace_s - self._time.now_s()",
        "left_s = 0.0",
        (f"{_TEST_SHUTDOWN}::test_a_handler_that_ends_within_the_grace_is_acknowledged",),
    ),
    Mutant(
        "stop_without_renewals",
        "Tasks that finish in the grace run again elsewhere.",
        _ENGINE,
        "                if self._has_ended:\n                    return\n            self.renew()\n",
        "                if self.is_stopping:\n                    return\n            self.renew()\n",
        (f"{_TEST_SHUTDOWN}::test_claims_are_renewed_during_the_grace",),
        hangs=True,
    ),
    Mutant(
        "silent_broker_holds_up_the_end",
        "A worker takes a minute to end, and is killed by its service manager, if its broker hangs.",
        _ENGINE,
        "            poll.join(_CALL_S)",
        "            poll.join()",
        (f"{_TEST_SHUTDOWN}::test_a_silent_broker_does_not_hold_up_the_end",),
        hangs=True,
    ),
    Mutant(
        "signal_waits_for_the_main_thread",
        "SIGTERM has no effect on a worker whose main thread was just about to wait.",
        _SIGNALS,
        """    before_fd = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    before = {each: signal.signal(each, lambda _number, _frame: None) for each in (signal.SIGTERM, signal.SIGINT)}
""",
        """    before_fd = signal.set_wakeup_fd(-1)
    before = {
        each: signal.signal(each, lambda number, _frame: handler(signal.Signals(number)))
        for each in (signal.SIGTERM, signal.SIGINT)
    }
""",
        (f"{_TEST_SHUTDOWN}::test_a_signal_is_seen_by_a_main_thread_that_waits_already",),
    ),
    Mutant(
        "second_stop_waits_too",
        "Ctrl-C pressed again has no effect.",
        _ENGINE,
        "self._hurries |= at_once",
        "self._hurries = self._hurries",
        (f"{_TEST_SHUTDOWN}::test_a_second_stop_gives_back_at_once",),
        hangs=True,
    ),
    Mutant(
        "messages_of_the_last_poll_stay_claimed",
        "Messages that a stopping worker has just received wait for the end of their lease.",
        _ENGINE,
        "            self._add([Settlement(message, Ending.GIVE_BACK) for message in answer.messages])\n            return\n",
        "            return\n",
        (f"{_TEST_SHUTDOWN}::test_messages_of_a_poll_that_was_cancelled_too_late_are_given_back",),
        hangs=True,
    ),
    Mutant(
        "given_back_message_counts",
        "A worker that is deployed often turns long tasks into dead letters.",
        _SOURCE,
        "    is_uncounted = settlement.ending is Ending.GIVE_BACK\n    return Release(",
        "    is_uncounted = False\n    return Release(",
        (f"{_TEST_BROKER}::test_a_message_that_is_given_back_does_not_count",),
    ),
    Mutant(
        "interrupt_counts_as_a_failure",
        "A task that stops early, as it should, has used up a try.",
        _OUTCOMES,
        "    if isinstance(error, Interrupt):\n        return Settlement(message, Ending.GIVE_BACK)\n",
        "",
        (f"{_TEST_SHUTDOWN}::test_a_handler_that_checks_stops_early_and_its_try_does_not_count",),
    ),
    Mutant(
        "schedules_of_others_are_removed",
        "The start of one app ends the nightly jobs of another.",
        "wonderq/tasks/schedules.py",
        "if old.name not in wanted and old.attributes.get(APP) == app:",
        "if old.name not in wanted and old.name.startswith(app):",
        (f"{_TEST_BROKER}::test_schedules_follow_the_code",),
    ),
    Mutant(
        "old_schedules_stay",
        "A job that was removed from the code still runs every night.",
        "wonderq/tasks/schedules.py",
        "if old.name not in wanted and old.attributes.get(APP) == app:",
        "if False:",
        (f"{_TEST_BROKER}::test_schedules_follow_the_code",),
    ),
    Mutant(
        "coroutines_send_without_the_key",
        "A program with a client of its own can send tasks from threads, but not from coroutines.",
        "wonderq/tasks/app.py",
        "AsyncClient.like(model)",
        "AsyncClient(model.url, key=self._key)",
        (f"{_TEST_BROKER}::test_coroutines_send_with_the_key_of_the_app_s_client",),
    ),
    Mutant(
        "nobody_knows_who_has_a_message",
        "An operator cannot find the worker in which a task hangs.",
        _SOURCE,
        "            consumer=self._consumer,\n",
        "",
        (f"{_TEST_BROKER}::test_the_broker_shows_which_worker_has_a_message",),
    ),
    Mutant(
        "wrong_arguments_are_tried_again",
        "A message that no try can make right comes back for hours.",
        "wonderq/tasks/task.py",
        "            raise Dead(str(error)) from error\n",
        "            raise\n",
        (f"{_TEST_TASKS}::test_messages_that_no_task_can_take",),
    ),
    Mutant(
        "dead_process_is_not_replaced",
        "A worker that ran out of memory is missing until somebody notices.",
        _SUPERVISOR,
        "        self.start_s = now_s + pause_s\n",
        "        self.start_s = None\n",
        (f"{_TEST_SUPERVISOR}::test_a_killed_process_is_started_anew_and_a_signal_ends_all",),
        hangs=True,
    ),
    Mutant(
        "second_signal_is_not_passed_on",
        "Ctrl-C pressed again does not end worker processes.",
        _SUPERVISOR,
        "                child.hurry()\n",
        "                pass\n",
        (f"{_TEST_SUPERVISOR}::test_a_second_signal_is_the_order_to_hurry",),
        hangs=True,
    ),
    Mutant(
        "processes_outlive_their_supervisor",
        "After a kill of the supervisor, twice as many workers run.",
        _SUPERVISOR,
        "        stop(at_once=False)\n",
        "",
        (f"{_TEST_SUPERVISOR}::test_processes_end_when_their_supervisor_is_killed",),
        hangs=True,
    ),
    Mutant(
        "app_without_tasks_takes_messages",
        "A forgotten import makes every message a dead letter.",
        "wonderq/cli/worker.py",
        "    if not app.tasks:\n",
        "    if False:\n",
        (f"{_TEST_COMMAND}::test_wrong_options_are_explained",),
        hangs=True,
    ),
    Mutant(
        "groups_do_not_share_slots",
        "A worker with queues of several shards runs its concurrency once for each of them.",
        "wonderq/worker/crew.py",
        "slots.share(_draw(at, group))",
        "Slots(self._concurrency).share()",
        (
            f"{_TEST_SHARDS}::test_all_groups_together_hold_no_more_messages_than_the_worker_has_slots",
            f"{_TEST_SHARDS}::test_a_message_for_which_no_slot_is_free_is_given_back_and_counts_no_try",
        ),
    ),
    Mutant(
        "surplus_message_is_kept",
        "A busy worker of several shards holds messages for which it has no slot.",
        _ENGINE,
        "claims[: self._slots.free], claims[self._slots.free :]",
        "claims, claims[:0]",
        (f"{_TEST_SHARDS}::test_a_message_for_which_no_slot_is_free_is_given_back_and_counts_no_try",),
    ),
    Mutant(
        "silent_shard_keeps_slots",
        "A worker stands still while one of its shards has no owner.",
        "wonderq/worker/slots.py",
        "sum(each.reserved for each in others if now_s < each.reserved_until_s)",
        "sum(each.reserved for each in others)",
        (f"{_TEST_SHARDS}::test_a_shard_that_does_not_answer_does_not_hold_up_the_others",),
    ),
    Mutant(
        "settlements_wait_for_a_slot_of_others",
        "A finished task is not acknowledged while tasks of other shards have all slots, and runs again.",
        _ENGINE,
        "        if self._slots.is_shared:\n            return False\n",
        "",
        (f"{_TEST_SHARDS}::test_a_result_does_not_wait_while_another_group_has_all_slots",),
    ),
    Mutant(
        "later_queues_come_first",
        "Urgent queues of one shard wait for the others of another shard.",
        "wonderq/worker/slots.py",
        "each.place < self.place for each",
        "each.place > self.place for each",
        (f"{_TEST_SHARDS}::test_queues_that_come_first_have_precedence",),
    ),
]
