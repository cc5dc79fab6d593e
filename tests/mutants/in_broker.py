"""Bugs in the broker's decisions and durability, in receipts, in the clock, and in the queues of waiting consumers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PRODUCE = "wonderq/broker/produce.py"
_CHANGES = "wonderq/broker/changes.py"
_CORE = "wonderq/broker/core.py"
_QUERIES = "wonderq/broker/queries.py"
_CLAIMS = "wonderq/broker/claims.py"
_ANSWERS = "tests/broker/test_durable_answers.py"
_TABLE = "wonderq/state/message_table.py"
_RECEIPTS = "tests/broker/test_receipts.py"
_CAUTIOUS = "tests/broker/test_cautious_clock.py"
_CLOCK = "tests/broker/test_clock.py"
_WAITING = "tests/broker/test_waiting.py"

MUTANTS = [
    Mutant(
        "produce_answers_at_once",
        "A produced message is lost in a crash after its 2xx.",
        _PRODUCE,
        "        core.durability.wait(position)\n        return self._results(output)",
        "        return self._results(output)",
        (f"{_ANSWERS}::test_an_answer_waits",),
        hangs=True,
    ),
    Mutant(
        "claim_answers_at_once",
        "After a crash a message is given to another consumer while the first still works on it.",
        "wonderq/broker/polls.py",
        "            self._core.durability.wait(claims[-1].position)\n",
        "",
        (f"{_ANSWERS}::test_an_answer_waits",),
    ),
    Mutant(
        "delete_answers_at_once",
        "A deleted message is back after a crash.",
        "wonderq/broker/changes.py",
        "        if runs:\n            self._core.wait_until_durable()\n        else:\n            self._core.confirm()\n"
        "        return results\n",
        "        return results\n",
        (f"{_ANSWERS}::test_an_answer_waits",),
    ),
    Mutant(
        "refusal_answers_at_once",
        "A client gets 404 for a message that exists again after a crash.",
        _CORE,
        "        if refusal is not None and issubclass(refusal, BrokerError):\n"
        "            self._durability.wait(self._log.confirm())\n",
        "",
        (f"{_ANSWERS}::test_a_refusal_waits",),
    ),
    Mutant(
        "get_shows_what_is_not_durable",
        "A client reads a change that a crash then undoes.",
        _QUERIES,
        "consumers = found.messages.consumers_of((view.token,))\n        self._core.confirm()\n",
        "consumers = found.messages.consumers_of((view.token,))\n",
        (f"{_ANSWERS}::test_an_answer_waits",),
    ),
    Mutant(
        "listing_shows_what_is_not_durable",
        "A listing has messages that a crash then takes away.",
        _QUERIES,
        "consumers = queue.messages.consumers_of([view.token for view in views])\n            self._core.confirm()\n",
        "consumers = queue.messages.consumers_of([view.token for view in views])\n",
        (f"{_ANSWERS}::test_an_answer_waits",),
    ),
    Mutant(
        "nothing_to_claim_answers_at_once",
        "A consumer gets an empty answer because of a deletion that a crash then undoes.",
        "wonderq/broker/polls.py",
        "                elif not batches:  # no client acts on an empty answer, so the log need not confirm it\n"
        "                    self._core.wait_until_durable()\n",
        "",
        (f"{_ANSWERS}::test_an_answer_waits",),
    ),
    Mutant(
        "applied_before_it_is_appended",
        "A record that found no room is in memory all the same: a 507 half done.",
        _CORE,
        "        positions = self.log.append_together(",
        "        for each, data in zip(records, encoded, strict=True):\n"
        "            self.state.apply(each, self.log.end(), len(data))\n"
        "        positions = self.log.append_together(",
        (f"{_ANSWERS}::test_a_refused_record_changes_nothing",),
    ),
    Mutant(
        "new_queue_apart_from_its_messages",
        "A refused produce leaves an empty queue behind, a 507 half done; and so does a crash.",
        _PRODUCE,
        "position = core.append_and_apply(*records, leave=PRODUCE_LEAVES) if records",
        "position = [core.append_and_apply(each, leave=PRODUCE_LEAVES) for each in records][-1] if records",
        (
            f"{_ANSWERS}::test_there_is_room_for_a_new_queue_and_its_first_messages_or_for_none",
            "tests/broker/test_whole_batches.py::test_a_crash_leaves_a_new_queue_with_its_first_messages_or_neither",
        ),
    ),
    Mutant(
        "batch_deleted_one_by_one",
        "A crash leaves half of a batch deleted.",
        _CHANGES,
        "                self._core.append_and_apply(\n"
        "                    record.Delete(record.DELETE, now_ms, found.number, runs), leave=DELETE_LEAVES\n"
        "                )\n",
        "                for each in record.from_runs(runs):\n"
        "                    self._core.append_and_apply(\n"
        "                        record.Delete(record.DELETE, now_ms, found.number, [each, 1]), leave=DELETE_LEAVES\n"
        "                    )\n",
        ("tests/broker/test_whole_batches.py::test_a_batch_is_one_record",),
    ),
    Mutant(
        "stale_receipts_of_a_batch_count",
        "A consumer whose claim has expired deletes messages of another consumer, if its batch has receipts of one claim only.",
        _TABLE,
        "            if page.token[start:stop] != expected or page.status.find(GONE, start, stop) >= 0:\n",
        "            if page.status.find(GONE, start, stop) >= 0:\n",
        ("tests/broker/test_batches_of_receipts.py::test_one_that_does_not_count_stops_no_other",),
    ),
    Mutant(
        "missing_messages_of_a_batch_count",
        "The deletion of a missing message succeeds.",
        _TABLE,
        "        return passed == len(tokens)\n",
        "        return True\n",
        ("tests/broker/test_batches_of_receipts.py::test_a_message_that_was_never_claimed_has_no_token",),
    ),
    Mutant(
        "a_message_twice_in_a_batch",
        "A batch that names a message twice is recorded as runs that do not ascend.",
        _CHANGES,
        "        if not isinstance(sequences, range) and any(map(ge, sequences, sequences[1:])):\n",
        "        if False:\n",
        ("tests/broker/test_batches_of_receipts.py::test_one_that_does_not_count_stops_no_other",),
    ),
    Mutant(
        "receipts_of_a_batch_for_any_queue",
        "A batch deletes messages of one queue by the receipts of another.",
        "wonderq/model/ids.py",
        "            if n > _MASK or plain >> _SEQUENCE_BITS != prefix or not token:\n",
        "            if n > _MASK or not token:\n",
        ("tests/broker/test_batches_of_receipts.py::test_many_are_read_as_each_is",),
    ),
    Mutant(
        "receipts_behind_the_first_are_guessed",
        "A batch that begins with a valid receipt deletes messages whose receipts it does not have.",
        "wonderq/model/ids.py",
        'if "".join(texts[at : at + count]) != ',
        "if not ",
        ("tests/broker/test_batches_of_receipts.py::test_one_that_does_not_count_stops_no_other",),
    ),
    Mutant(
        "claim_uses_the_reserve",
        "On a full disk consumers use up the room that deleting needs.",
        _CLAIMS,
        "position = self._core.append_and_apply(*records, leave=CLAIM_LEAVES)",
        "position = self._core.append_and_apply(*records)",
        (f"{_ANSWERS}::test_deleting_works_on_when_producing_and_claiming_have_no_room",),
    ),
    Mutant(
        "token_ignored",
        "A consumer whose claim is over deletes a message that another one works on.",
        _CORE,
        "        if token is not None and token != view.token:\n",
        "        if False:\n",
        (f"{_RECEIPTS}::test_a_later_claim_fences_an_earlier_one",),
    ),
    Mutant(
        "token_counts_while_claimed",
        "The receipt of a message that was given back still acts.",
        _CORE,
        "        if token is not None and token != view.token:\n",
        "        from wonderq.model.status import CLAIMED\n\n"
        "        if token is not None and token != view.token and view.status == CLAIMED:\n",
        (f"{_RECEIPTS}::test_giving_a_message_back_voids_its_receipt",),
    ),
    Mutant(
        "same_token_for_every_claim",
        "A stale receipt acts on the next claim.",
        _CLAIMS,
        "        token = self._new_token()\n",
        "        token = 1\n",
        (f"{_RECEIPTS}::test_a_later_claim_fences_an_earlier_one",),
    ),
    Mutant(
        "id_of_another_queue_accepted",
        "A client deletes a message of a queue that it did not name.",
        _CORE,
        "if place[0] != queue.number:",
        "if place[0] < 0:",
        ("tests/broker/test_another_queues_ids.py::test_an_id_does_not_act_on_another_queue",),
    ),
    Mutant(
        "receipt_of_another_message_accepted",
        "A client that mixed up an id and a receipt deletes the wrong message.",
        _CORE,
        "if target.id is not None and self.ids.decode_id(target.id) != tuple(place):",
        "if False:",
        (f"{_RECEIPTS}::test_a_receipt_with_another_messages_id_is_refused",),
    ),
    Mutant(
        "made_up_id_accepted",
        "Any mistyped id means some message.",
        "wonderq/model/ids.py",
        "        if n > _MASK or plain >> _CHECK_SHIFT != self._check:\n",
        "        if False:\n",
        ("tests/broker/test_ids.py::test_one_wrong_digit_is_noticed",),
    ),
    Mutant(
        "deadlines_start_anew_at_a_restart",
        "A restart holds claims longer than they were asked for.",
        _CORE,
        "        self.clock.raise_floor(self.state.last_ms)\n",
        "        from wonderq.model.status import CLAIMED\n\n"
        "        self.clock.raise_floor(self.state.last_ms)\n"
        "        for each in self.state.queues.values():\n"
        "            for view in each.messages.after(-1, 1 << 30, CLAIMED):\n"
        "                due_ms = self.clock.now_ms() + view.timeout_ms\n"
        "                each.messages.change(view.sequence, CLAIMED, due_ms, view.timeout_ms)\n",
        (f"{_CLOCK}::test_a_clock_set_back_across_a_restart_does_not_take_time_back",),
    ),
    Mutant(
        "rot_is_forgotten",
        "After a message could not be read back, the broker works on as if nothing were wrong.",
        _CORE,
        "        if self.ended is None:\n",
        "        if True:\n",
        ("tests/broker/test_rotten_bodies.py::test_whoever_reads_it_is_told",),
    ),
    Mutant(
        "clock_follows_the_wall",
        "Setting the system's clock forward releases every claim.",
        "wonderq/runtime/clock.py",
        "return (self._offset_ns + time.monotonic_ns()) // 1_000_000",
        "return time.time_ns() // 1_000_000",
        (f"{_CLOCK}::test_a_jump_of_the_wall_clock_is_not_seen",),
    ),
    Mutant(
        "clock_goes_back_at_a_restart",
        "Messages are produced before older ones, and claims end later, after the clock was set back.",
        "wonderq/runtime/clock.py",
        "        self._advance(floor_ms - self.now_ms())\n",
        "        pass\n",
        (f"{_CLOCK}::test_the_floor_raises_a_clock_that_is_behind",),
    ),
    Mutant(
        "any_clock_is_believed_at_a_start",
        "A start with the system's clock a day ahead deletes messages and ends claims.",
        "wonderq/runtime/clock.py",
        "            self._held = True\n",
        "            return\n",
        (f"{_CAUTIOUS}::test_a_clock_far_ahead_ends_nothing",),
    ),
    Mutant(
        "a_held_clock_stays_held",
        "The broker stays behind after its system's clock was corrected.",
        "wonderq/broker/core.py",
        "            released = self.clock.review()\n",
        "            released = False\n",
        (f"{_CAUTIOUS}::test_the_clock_follows_once_the_system_clock_is_corrected",),
    ),
    Mutant(
        "the_run_of_the_machine_is_no_evidence",
        "A broker that was stopped for a weekend needs an operator.",
        "wonderq/runtime/clock.py",
        "        same_boot = last.boot_id and last.boot_id == self._evidence.boot_id()\n",
        "        same_boot = False\n",
        (f"{_CAUTIOUS}::test_a_long_stop_in_one_run_of_the_machine_needs_no_operator",),
    ),
    Mutant(
        "another_run_of_the_machine_is_evidence",
        "The time since the machine was started is compared with that of another run of the machine.",
        "wonderq/runtime/clock.py",
        "        same_boot = last.boot_id and last.boot_id == self._evidence.boot_id()\n",
        "        same_boot = True\n",
        (f"{_CAUTIOUS}::test_the_uptime_of_another_run_of_the_machine_is_no_evidence",),
    ),
    Mutant(
        "an_idle_broker_does_not_store_the_time",
        "A broker without work for hours looks like a stopped one at its next start.",
        "wonderq/broker/core.py",
        "        self.clock.remember()\n",
        "",
        (f"{_CAUTIOUS}::test_a_broker_that_was_idle_for_days_restarts_without_doubt",),
    ),
    Mutant(
        "produce_wakes_nobody",
        "A new message does not wake a waiting consumer.",
        _PRODUCE,
        "count(record.PRODUCE, output.added)\n            self._core.consumers.notify(self._core.state.queues[name])\n",
        "count(record.PRODUCE, output.added)\n",
        (f"{_WAITING}::test_one_message_wakes_one_waiter",),
        hangs=True,
    ),
    Mutant(
        "leaving_wakes_nobody",
        "A message whose consumer has disconnected does not reach the next consumer.",
        "wonderq/broker/consumers.py",
        "        self.notify(queue)\n",
        "        pass\n",
        (f"{_WAITING}::test_a_message_goes_on_to_the_next_when_the_client_has_gone",),
        hangs=True,
    ),
    Mutant(
        "earlier_deadline_wakes_nobody",
        "A consumer sleeps past the end of a claim.",
        "wonderq/broker/consumers.py",
        "        if due_ms is not None and due_ms < waiters[0].due_ms:\n",
        "        if False:\n",
        (f"{_WAITING}::test_whoever_runs_out_of_time_hands_over",),
        hangs=True,
    ),
    Mutant(
        "newest_waiter_is_woken",
        "The consumer that has waited longest gets the last message.",
        "wonderq/broker/consumers.py",
        "        for waiter in waiters:\n            if waiting <= 0:\n",
        "        for waiter in reversed(waiters):\n            if waiting <= 0:\n",
        (f"{_WAITING}::test_first_come_first_served",),
        hangs=True,
    ),
]
