"""Bugs in topics, in publishing, and in the log of published messages."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PUBLISH = "wonderq/broker/publish.py"
_TOPICS = "wonderq/broker/topics.py"
_STATE = "wonderq/state/state.py"
_PLACES = "wonderq/state/places.py"
_SHARED = "wonderq/state/shared_entries.py"
_COMPACTION = "wonderq/broker/shared_compaction.py"
_OF_PUBLISH = "tests/broker/test_publish.py"
_OF_TOPICS = "tests/broker/test_topics.py"
_KEPT_SHARED = f"{_OF_PUBLISH}::test_a_compaction_keeps_bodies_shared"

MUTANTS = [
    Mutant(
        "full_queue_is_left_out",
        "A publish is in some of the matching queues: one that is full lacks the message, and nobody is told.",
        _PUBLISH,
        '            elif subscription.when_full == "fail":\n',
        '            elif subscription.when_full == "never":\n',
        (f"{_OF_PUBLISH}::test_a_queue_that_refuses_fails_the_publish_for_all",),
    ),
    Mutant(
        "passed_over_queue_is_not_counted",
        "A queue that was passed over is not counted, so nobody notices that it lacks messages.",
        _PUBLISH,
        "            decision.skip(subscription, refused)\n",
        "            pass\n",
        (f"{_OF_PUBLISH}::test_a_queue_that_refuses_may_be_passed_over",),
    ),
    Mutant(
        "refused_messages_are_lost",
        "Messages that a queue refuses do not get to the dead-letter queue of the subscription.",
        _PUBLISH,
        "        if dead_letters is None:\n",
        "        if True:\n",
        (f"{_OF_PUBLISH}::test_a_queue_that_refuses_may_be_passed_over",),
    ),
    Mutant(
        "publish_twice_with_one_key",
        "A publisher that repeats a publish adds its messages a second time.",
        _PUBLISH,
        "                known = topic.dedup.get(key, now_ms)\n",
        "                pass\n",
        (f"{_OF_PUBLISH}::test_a_key_counts_for_the_topic",),
    ),
    Mutant(
        "publish_twice_in_a_batch",
        "Two messages of a batch with the same key are both published.",
        _PUBLISH,
        "            known = keys.get(key)\n",
        "            known = None\n",
        (f"{_OF_PUBLISH}::test_a_key_counts_for_the_topic",),
    ),
    Mutant(
        "stale_filter",
        "A publish goes by a filter that was replaced while it was evaluated.",
        _PUBLISH,
        "        if self._known != (topic, topic.changes):\n",
        "        if False:\n",
        (f"{_OF_PUBLISH}::test_a_subscription_that_changes_meanwhile_is_judged_as_it_is_now",),
    ),
    Mutant(
        "paused_subscription_delivers",
        "The queue of a paused subscription gets messages.",
        _PUBLISH,
        "        if subscription.paused or subscription.is_pending:\n            return\n",
        "",
        (f"{_OF_PUBLISH}::test_only_matching_queues_get_a_message",),
    ),
    Mutant(
        "room_of_all_queues_is_not_checked",
        "Publishes fill the broker beyond its limit of messages.",
        _PUBLISH,
        "        self._core.admission.check_total_room(",
        "        (lambda *_: None)(",
        (f"{_OF_PUBLISH}::test_the_limits_of_the_broker_count_each_copy",),
    ),
    Mutant(
        "own_delay_is_ignored",
        "A message that is published with a delay is delivered at once.",
        _PLACES,
        "    return [each or default_ms for each in own_ms]\n",
        "    return [default_ms for each in own_ms]\n",
        (f"{_OF_PUBLISH}::test_each_queue_has_each_message_as_if_it_had_been_sent_there",),
    ),
    Mutant(
        "published_groups_lose_their_order",
        "A FIFO queue delivers published messages of one group at the same time.",
        _PLACES,
        "        return [(0, group or UNGROUPED) for _, group in lanes] if lanes else [(0, UNGROUPED)] * count\n",
        "        return ()\n",
        (f"{_OF_PUBLISH}::test_groups_keep_their_order_in_fifo_queues",),
    ),
    Mutant(
        "subscription_outlives_its_queue",
        "A new queue gets messages that nobody has subscribed it to, or a publish fails.",
        _TOPICS,
        "    redrives.append_drop(record.Drop(record.DROP, now_ms, queue.number), ends)\n",
        "    redrives.append_drop(record.Drop(record.DROP, now_ms, queue.number), [])\n",
        (f"{_OF_TOPICS}::test_subscriptions_end_with_their_queue",),
    ),
    Mutant(
        "subscribes_a_forbidden_queue",
        "A key that may not use a queue has messages delivered to it.",
        _TOPICS,
        "            if target and not permits(target) and not (target == queue.name and changed.owns_queue):\n",
        "            if False:\n",
        (f"{_OF_TOPICS}::test_both_ends_must_be_permitted",),
    ),
    Mutant(
        "one_queue_twice",
        "A queue with two subscriptions has each message twice.",
        _TOPICS,
        "                raise AlreadySubscribedError(topic.name, queue_name, each.name)\n",
        "                pass\n",
        (f"{_OF_TOPICS}::test_a_queue_subscribes_once_and_a_subscription_keeps_its_queue",),
    ),
    Mutant(
        "compaction_drops_published_messages",
        "Compaction loses messages that were published.",
        "wonderq/broker/compaction.py",
        "    for shared in batch.shared:\n",
        "    for shared in batch.shared[:0]:\n",
        (f"{_OF_PUBLISH}::test_each_queue_has_each_message_as_if_it_had_been_sent_there",),
    ),
    Mutant(
        "compaction_multiplies_bodies",
        "Compaction writes a body once for each queue, so the log grows without a limit.",
        _COMPACTION,
        "    for sharers in (every[at : at + _QUEUES] for at in range(0, len(every), _QUEUES)):\n",
        "    for sharers in ([each] for each in every):\n",
        (_KEPT_SHARED,),
    ),
    Mutant(
        "compaction_brings_back_deleted_copies",
        "A message that one queue has deleted is there again, because another queue still has it.",
        _COMPACTION,
        "        for at, sequence, count in queue.messages.find_at_positions(runs, there):\n",
        "        for at, sequence, count in [(0, runs[0], runs[1])]:\n",
        (_KEPT_SHARED,),
    ),
    Mutant(
        "compaction_loses_keys_of_topics",
        "After a compaction and a restart, a repeated publish adds its messages again.",
        "wonderq/broker/compaction.py",
        "        numbers += [topic.number for topic in state.topics.values() if len(topic.dedup)]\n",
        "",
        (f"{_OF_TOPICS}::test_everything_about_a_topic_lasts",),
    ),
    Mutant(
        "compaction_loses_subscriptions",
        "After a compaction and a restart, queues are not subscribed any more.",
        "wonderq/broker/compaction.py",
        "                if name in topic.stored and topic.stored[name].position < end:\n",
        "                if False:\n",
        (f"{_OF_TOPICS}::test_everything_about_a_topic_lasts",),
    ),
    Mutant(
        "saved_bytes_never_shrink",
        "The log seems to need less than it does, so it is compacted for ever.",
        _SHARED,
        "            self.saved_bytes -= block.lengths[index]\n",
        "",
        (f"{_OF_PUBLISH}::test_what_is_saved_follows_what_is_shared",),
    ),
    Mutant(
        "queue_is_frozen_too_late",
        "A checkpoint that is written during a publish has the messages in some of the queues.",
        _STATE,
        "        if self._unfrozen and (snapshot := self._snapshot()) is not None:\n            snapshot.freeze(queue)\n",
        "        pass\n",
        (f"{_OF_PUBLISH}::test_a_snapshot_during_a_publish_has_it_in_no_queue",),
    ),
    Mutant(
        "keys_of_topics_are_kept",
        "The idempotency keys of a topic that nobody publishes to any more take memory for ever.",
        "wonderq/broker/upkeep.py",
        "            return self._core.state.forget(now_ms, left, queue)\n",
        "            return left\n",
        ("tests/broker/test_housekeeping.py::TestIdle::test_the_end_of_a_key_of_a_topic_is_not_missed",),
    ),
    Mutant(
        "reads_the_queues_of_others",
        "A key sees subscriptions of queues that it does not open.",
        _TOPICS,
        "            if not _opens(info, permits):\n",
        "            if False:\n",
        ("tests/http/test_topics.py::test_each_key_sees_its_own",),
    ),
]
