"""Bugs in the checker of histories: a broken promise that it lets pass, or a right broker that it reports."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CHANGES = "tests/support/history/changes.py"
_EVIDENCE = "tests/support/history/evidence.py"
_MESSAGES = "tests/support/history/message_rules.py"
_HOLDS = "tests/support/history/hold_rules.py"
_REQUESTS = "tests/support/history/request_rules.py"
_QUEUES = "tests/support/history/queue_rules.py"
_OWN = "tests/crash/test_checker.py"
_RIGHT = "tests/crash/test_checker.py::test_a_clean_history_passes"
_WRONG = "tests/crash/test_checker.py::test_a_broken_promise_is_reported_and_no_other"

MUTANTS = [
    Mutant(
        "checker_counts_an_uncounted_release",
        "A right broker is reported once a consumer gives a message back without a try.",
        _CHANGES,
        "            return {count - 1}, False\n",
        "            return {count}, False\n",
        (_RIGHT,),
    ),
    Mutant(
        "checker_believes_that_any_release_undoes_a_receive",
        "A broker that loses receives would pass, and deadly messages would go round for ever.",
        _EVIDENCE,
        "if update.uncounted and update.possible and update.receipt in self.ranks:",
        "if update.possible and update.receipt in self.ranks:",
        (_WRONG,),
    ),
    Mutant(
        "checker_lets_a_refused_release_undo_a_receive",
        "A broker in which a former holder undoes receives would pass.",
        _EVIDENCE,
        "if update.uncounted and update.possible and update.receipt in self.ranks:",
        "if update.uncounted and update.receipt in self.ranks:",
        (_WRONG,),
    ),
    Mutant(
        "checker_takes_two_dead_letters_for_one",
        "A broker that moves a message twice would pass.",
        _EVIDENCE,
        "            if len(found) > 1:\n",
        "            if len(found) > 2:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_takes_a_refused_declaration_for_one",
        "A broker that moves a message for a consumer that it refused would pass.",
        _EVIDENCE,
        "not any(each.dead and each.possible for each in source.updates)",
        "not any(each.dead for each in source.updates)",
        (_WRONG,),
    ),
    Mutant(
        "checker_misses_a_dead_letter_that_nobody_saw",
        "A broker that loses dead letters would pass.",
        _EVIDENCE,
        "            if certain and not letters[source.id]:\n",
        "            if certain and source.produce is None:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_keeps_no_place_for_a_lost_declaration",
        "A broker that does half of a move when it is killed would pass.",
        _EVIDENCE,
        "if len(updates) == 1 and letter.witnesses and not updates[0].happened:",
        "if len(updates) == 2 and letter.witnesses and not updates[0].happened:",
        (_WRONG,),
    ),
    Mutant(
        "checker_does_not_miss_an_error",
        "A broker that forgets the errors of consumers would pass.",
        _MESSAGES,
        "        if may_be and error not in {each.value for each in may_be}:\n",
        "        if may_be and error and error not in {each.value for each in may_be}:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_does_not_miss_a_consumer",
        "A broker that forgets the names of consumers in a crash would pass.",
        _MESSAGES,
        "        if may_be and found.consumer not in may_be:\n",
        "        if may_be and found.consumer and found.consumer not in may_be:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_lets_a_request_end_one_of_two",
        "A broker that writes what a request ends in pieces would pass.",
        _REQUESTS,
        "        if len(lost) < 2:\n",
        "        if len(lost) < 3:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_takes_a_stale_receipt_for_a_half_request",
        "A right broker is reported once a request holds a receipt that is no longer current.",
        _REQUESTS,
        "        if taken or released:\n",
        "        if taken and released:\n",
        (_RIGHT,),
    ),
    Mutant(
        "checker_misses_a_move_to_nowhere",
        "A broker that is killed between the two halves of a move, and loses the message, would pass.",
        _REQUESTS,
        "        if not isinstance(removal, Update) or removal.happened:\n",
        "        if isinstance(removal, Update) or removal.happened:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_lets_next_claim_before_it_finishes",
        "A broker whose consumers never get what they have just released would pass.",
        _HOLDS,
        "same = request is not None and call.request == request",
        "same = request is None and call.request == request",
        (_WRONG,),
    ),
    Mutant(
        "checker_lets_a_message_be_in_two_queues",
        "A broker that lists a message in two queues would pass.",
        _EVIDENCE,
        "        elif message.queue != queue:\n",
        "        elif message.queue == message_id:\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_does_not_know_of_a_leap_of_the_clock",
        "A right broker is reported when another one takes over whose clock is ahead.",
        _EVIDENCE,
        "            elif change.since_s <= until_s:\n",
        "            elif change.since_s <= 0:\n",
        (f"{_OWN}::test_a_claim_may_end_early_when_the_clock_leaps",),
    ),
    Mutant(
        "checker_excuses_everything_after_a_leap_of_the_clock",
        "A broker that keeps messages back would pass, once a clock was wrong.",
        _EVIDENCE,
        "            if change.until_s < since_s:\n",
        "            if change.until_s < 0:\n",
        (f"{_OWN}::test_after_a_leap_of_the_clock_messages_are_given_out_in_time_again",),
    ),
    Mutant(
        "checker_believes_every_loss_of_the_log",
        "A broker that gives up a log that nobody has taken over would pass.",
        _QUEUES,
        "        elif call.code == LOG_LOST:\n            if not evidence.stopping(call):\n",
        "        elif call.code == LOG_LOST:\n            if False:\n",
        (f"{_OWN}::test_a_call_may_be_refused_for_another_owner_only_while_owners_change",),
    ),
    Mutant(
        "checker_forgets_the_queues_in_which_nothing_was_seen",
        "A publish that is in some of its queues would pass.",
        _EVIDENCE,
        "                    self.messages[message.id] = message\n                message.known_s",
        "                message.known_s",
        (_WRONG,),
    ),
    Mutant(
        "checker_judges_each_queue_of_a_publish_alone",
        "A publish that is in one queue later than in another would pass.",
        _EVIDENCE,
        "                message.known_s = min(message.known_s, known_s)\n",
        "                pass\n",
        (_WRONG,),
    ),
    Mutant(
        "checker_takes_a_refused_publish_for_one_that_may_have_happened",
        "A publish that was refused and happened would pass.",
        _EVIDENCE,
        "        if isinstance(call, Publish) and call.possible:\n",
        "        if isinstance(call, Publish):\n",
        (_WRONG,),
    ),
]
