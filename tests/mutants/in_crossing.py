"""Bugs in what crosses from one shard of a cluster to another."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CROSSINGS = "wonderq/broker/crossings.py"
_OUTBOXES = "wonderq/broker/outboxes.py"
_CROSSER = "wonderq/cluster/crosser.py"
_CORE = "wonderq/broker/core.py"

_TESTS = "tests/cluster/test_crossing.py"
_LINKS = "tests/cluster/test_links.py"

MUTANTS = [
    Mutant(
        "schedule_goes_elsewhere_unnoticed",
        "Messages that wait for a queue are lost when a schedule begins to send to it just then.",
        "wonderq/broker/schedules.py",
        '+= before is None or before.value["queue"] != after.queue',
        "+= before is None",
        (f"{_TESTS}::test_what_begins_to_lead_to_a_queue_while_others_are_looked_through_keeps_the_messages",),
    ),
    Mutant(
        "outbox_is_deleted_for_what_was_true_before",
        "A dead letter is lost whose queue was made again while an answer that it is gone was under way.",
        _OUTBOXES,
        "                    if core.target_changes == changes:\n",
        "                    if True:\n",
        (f"{_TESTS}::test_what_begins_to_lead_to_a_queue_while_others_are_looked_through_keeps_the_messages",),
    ),
    Mutant(
        "all_outboxes_are_looked_at_in_one_hold",
        "With very many outboxes, each look for messages that are to cross keeps all requests of the shard waiting.",
        _OUTBOXES,
        "            yield names[at : at + _OUTBOXES_AT_ONCE]\n",
        "            yield names if not at else ()\n",
        ("tests/broker/test_short_holds.py::test_a_hold_is_short",),
    ),
    Mutant(
        "many_subscriptions_to_a_queue_that_is_gone_end_in_one_hold",
        "When a queue is deleted that thousands of topics feed, all requests of their shard wait.",
        _OUTBOXES,
        "islice(self._before(departure), ENDED_AT_ONCE + 1)",
        "islice(self._before(departure), ENDED_AT_ONCE)",
        (f"{_TESTS}::test_many_subscriptions_to_a_queue_that_is_gone_end_in_portions",),
    ),
    Mutant(
        "crossing_without_a_key",
        "A message whose arrival was not confirmed is in the queue of the other shard twice.",
        _CROSSINGS,
        "            fresh = [each for each in messages if not newest.covers(each)]\n",
        "            fresh = list(messages)\n",
        (f"{_TESTS}::test_a_message_arrives_once_whatever_is_lost",),
    ),
    Mutant(
        "crossing_key_is_written_later",
        "A crash between a message and its key lets the message arrive twice.",
        _CROSSINGS,
        "                position = core.append_and_apply(*records, leave=PRODUCE_LEAVES)\n",
        "                position = core.append_and_apply(*records[:-1], leave=PRODUCE_LEAVES)\n",
        (f"{_TESTS}::test_a_message_arrives_once_whatever_is_lost",),
    ),
    Mutant(
        "outbox_is_emptied_before_the_acknowledgement",
        "A message whose call was lost is in no queue any more.",
        _CROSSER,
        "            counters.crossings_failed[departure.queue] += 1\n",
        "            counters.crossings_failed[departure.queue] += 1\n"
        "            outboxes.remove(departure, departure.messages[-1].sequence)\n",
        (f"{_TESTS}::test_a_message_arrives_once_whatever_is_lost",),
    ),
    Mutant(
        "crossing_key_without_the_time",
        "After a shard has lost the end of its log, new messages that cross are taken for old ones and vanish.",
        _CROSSINGS,
        "        return message.sequence <= self.sequence and message.produced_ms <= self.produced_ms\n",
        "        return message.sequence <= self.sequence\n",
        (f"{_TESTS}::test_messages_after_an_accepted_loss_are_other_messages",),
    ),
    Mutant(
        "crossing_key_without_the_outbox",
        "Messages of an outbox that was made anew are taken for those of the former one and vanish.",
        _OUTBOXES,
        'f"{self._core.identity}.{outbox.number}"',
        "self._core.identity",
        (f"{_TESTS}::test_the_outbox_of_a_queue_that_stays_may_be_another_one",),
    ),
    Mutant(
        "outboxes_are_forgotten_at_a_takeover",
        "What waits to cross stays where it is for ever when its shard has another owner.",
        _CORE,
        "        self.outboxes = {name for name in self.state.queues if not has_name(name)}\n",
        "        self.outboxes: set[str] = set()\n",
        (f"{_TESTS}::test_a_message_arrives_once_when_a_shard_has_another_owner",),
    ),
    Mutant(
        "whole_portion_is_deleted_after_a_part_has_arrived",
        "Messages for which a queue had no room are lost.",
        _OUTBOXES,
        "        gone = [each.sequence for each in departure.messages if each.sequence <= last]\n",
        "        gone = [each.sequence for each in departure.messages]\n",
        (f"{_TESTS}::test_a_full_queue_gets_what_fits_and_the_rest_later",),
    ),
    Mutant(
        "deleted_queue_is_created_by_a_publish",
        "A queue that a team has deleted is there again, and fills up, because a topic of another shard publishes.",
        _CROSSER,
        "            line.creates = outboxes.end_subscriptions(departure)\n",
        "            line.creates = True\n",
        (f"{_TESTS}::test_an_outbox_that_was_deleted_and_is_there_again_has_other_messages",),
    ),
    Mutant(
        "hand_over_into_an_outbox",
        "A hand-over to another shard is accepted, although it cannot be one step.",
        "wonderq/broker/produce.py",
        "        if not may_cross and name in core.outboxes:\n",
        "        if False:\n",
        (f"{_LINKS}::test_an_outbox_is_no_queue_of_its_shard",),
    ),
    Mutant(
        "handing_over_waits_for_a_call",
        "A shard cannot be handed over while the owner of another one is frozen.",
        _CROSSER,
        "        outcome = self._try(shard_of(name, self._shards), request)\n        with self._in_broker:\n",
        "        with self._in_broker:\n            outcome = self._try(shard_of(name, self._shards), request)\n",
        (f"{_TESTS}::test_a_shard_is_handed_over_without_waiting_for_a_call",),
        hangs=True,
    ),
    Mutant(
        "existence_is_told_without_the_right",
        "A key learns which queues of other teams exist.",
        "wonderq/broker/topics.py",
        "            if not permits(each):\n"
        '                raise NotPermittedError(f"for the queue {each}")\n'
        "        if elsewhere:\n",
        "            pass\n        if elsewhere:\n",
        (f"{_LINKS}::test_a_link_needs_the_right_to_the_other_queue",),
    ),
]
