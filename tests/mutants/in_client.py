"""Bugs in the Python client."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_OPERATIONS = "wonderq/client/operations.py"
_HTTP = "wonderq/client/http_threads.py"
_CONNECTION = "wonderq/client/http_connection.py"
_HTTP_ASYNCIO = "wonderq/client/http_asyncio.py"
_ENGINE = "wonderq/client/sync_engine.py"
_CLAIMS = "wonderq/client/claims.py"
_STREAM = "wonderq/client/async_stream.py"
_LANES = "wonderq/client/thread_lanes.py"
_RESULTS = "wonderq/client/results.py"
_INTERRUPTED = "tests/client/test_interrupted.py"
_CUTS = "tests/client/test_cut_connections.py"

MUTANTS = [
    Mutant(
        "send_has_no_number",
        "A send whose answer was lost is added twice.",
        _OPERATIONS,
        '{"messages": messages, **number}',
        '{"messages": messages}',
        (f"{_CUTS}::test_sends_over_connections_that_are_cut",),
    ),
    Mutant(
        "claim_has_no_attempt",
        "Messages whose claim was answered over a broken connection are held by nobody until their lease ends.",
        _CLAIMS,
        '{"max": self.limit, "attempt_id": os.urandom(8).hex()}',
        '{"max": self.limit}',
        (f"{_CUTS}::test_receives_over_connections_that_are_cut",),
    ),
    Mutant(
        "cancelled_task_keeps_its_messages",
        "Messages that arrive just when a task is cancelled are held by nobody until their lease ends.",
        "wonderq/client/async_engine.py",
        "            if call.messages is not None:\n",
        "            if call.messages is None:\n",
        (
            f"{_INTERRUPTED}::test_a_cancelled_task_gives_back_the_messages_of_an_answer_under_way",
            f"{_INTERRUPTED}::test_whenever_a_receive_is_cancelled_no_message_is_left_behind",
        ),
    ),
    Mutant(
        "interrupted_thread_keeps_its_messages",
        "Messages that arrive just when a program is interrupted are held by nobody until their lease ends.",
        _ENGINE,
        "                self._drive(give_back(call, self.options.retries))\n",
        "                pass\n",
        (f"{_INTERRUPTED}::test_an_interrupted_thread_gives_back_the_messages_of_an_answer_under_way",),
    ),
    Mutant(
        "interrupted_receive_counts_as_a_try",
        "A task that is cancelled often enough makes dead letters of messages that nobody has seen.",
        _CLAIMS,
        "Release(receipt, uncounted=True)",
        "Release(receipt)",
        (f"{_INTERRUPTED}::test_a_cancelled_task_gives_back_the_messages_of_an_answer_under_way",),
    ),
    Mutant(
        "error_has_no_name",
        "A failure that was reported after an outage does not show which worker had it.",
        "wonderq/client/failures.py",
        '        "consumer": consumer,\n',
        '        "consumer": None,\n',
        ("tests/client/test_next.py::test_an_error_after_the_end_of_the_lease_has_the_name_too",),
    ),
    Mutant(
        "repeated_delete_fails",
        "A delete that was carried out is reported as failed, because its first answer was lost.",
        _RESULTS,
        "return None if is_repeated and isinstance(error, NotFound | StaleReceipt) else error",
        "return error",
        ("tests/client/test_operations.py::test_a_repeated_delete_that_finds_the_claim_ended_is_done",),
    ),
    Mutant(
        "answer_may_trickle",
        "A call hangs for as long as its answer comes byte by byte.",
        _CONNECTION,
        "        if left_s <= 0:\n",
        "        left_s = max(left_s, 0.1)\n        if left_s <= 0:\n",
        ("tests/client/test_timeouts.py::test_a_slow_answer_is_given_up",),
    ),
    Mutant(
        "child_keeps_the_locks_of_its_parent",
        "A forked child waits for ever for a thread of its parent.",
        _ENGINE,
        "        engine._start()  # noqa: SLF001\n",
        "        engine._http = engine._http\n",
        ("tests/client/test_processes.py::test_a_forked_child_and_its_parent_go_on",),
        hangs=True,
    ),
    Mutant(
        "child_finalizes_connections_of_its_parent",
        "A parent's next request gets no answer after its child has used the client.",
        _HTTP_ASYNCIO,
        "                _of_parents.append(connector)\n",
        "                pass\n",
        ("tests/client/test_processes.py::test_a_forked_child_and_its_parent_go_on",),
        hangs=True,
    ),
    Mutant(
        "refused_claim_is_not_told",
        "A consumer that may claim no more asks again at once, and again.",
        _CLAIMS,
        "claim_error = None if refusal is None else",
        "claim_error = None if refusal is not None else",
        ("tests/client/test_next.py::test_a_refused_claim_keeps_what_was_finished",),
    ),
    Mutant(
        "long_poll_holds_up_renewals",
        "A worker with few connections loses its claims while it waits for messages.",
        _HTTP,
        "pool = self._waiting_pool if request.waits else self._pool",
        "pool = self._pool",
        ("tests/client/test_polls.py::test_a_call_that_waits_leaves_the_connections_to_others",),
    ),
    Mutant(
        "queues_share_a_lane",
        "A message goes to the queue of another caller.",
        "wonderq/client/lanes.py",
        "lanes = self._lanes.get((queue, kind))",
        "lanes = next((each for (_, of), each in self._lanes.items() if of is kind), None)",
        ("tests/client/test_lanes.py::test_lanes_of_many_threads_and_queues_never_mix",),
    ),
    Mutant(
        "batches_wait_for_each_other",
        "Four threads send no more batches a second than one.",
        "wonderq/client/operations.py",
        "    goes_alone = True\n",
        "    goes_alone = False\n",
        ("tests/client/test_lanes.py::test_batches_of_several_tasks_are_under_way_at_a_time",),
        hangs=True,
    ),
    Mutant(
        "each_batch_has_a_producer_of_its_own",
        "The broker's memory grows with the batches that were sent, and not with the clients.",
        "wonderq/client/lanes.py",
        "            if not lane.load or len(lanes) == self._most:\n",
        "            if len(lanes) == self._most:\n",
        ("tests/client/test_lanes.py::test_batches_of_one_thread_have_one_producer",),
    ),
    Mutant(
        "interrupted_sender_keeps_the_lane",
        "After Ctrl-C in one thread, the calls of all others wait for ever.",
        _LANES,
        "        finally:\n            self._finish(taken)\n",
        "        else:\n            self._finish(taken)\n",
        ("tests/client/test_lanes.py::test_an_interrupted_sender_passes_the_lane_on",),
    ),
    Mutant(
        "woken_caller_wakes_no_other",
        "Of the calls that share a request, only one returns.",
        _LANES,
        "                if not turn.leads:\n                    self._wake_next()\n",
        "                pass\n",
        ("tests/client/test_lanes.py::test_sends_gather_while_a_request_is_under_way",),
        hangs=True,
    ),
    Mutant(
        "taken_messages_are_kept",
        "Messages that an ended loop did not take wait for their lease, and lose a try.",
        _STREAM,
        "        if given_back:\n",
        "        if not given_back:\n",
        ("tests/client/test_stream.py::test_messages_that_a_loop_did_not_take_are_given_back_uncounted",),
    ),
    Mutant(
        "finished_messages_stay_held",
        "A loop over messages stops after the first ones.",
        _STREAM,
        "        if operation.ends_claim:\n",
        "        if not operation.ends_claim:\n",
        ("tests/client/test_stream.py::test_a_loop_gets_all_messages_once",),
        hangs=True,
    ),
]
