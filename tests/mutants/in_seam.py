"""Bugs at the seam between the broker and its log: confirmations, the end of a part, and a log that is lost."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FILE = "storage/wonderq_storage/file_log.py"
_CORE = "wonderq/broker/core.py"
_ANSWERS = "tests/broker/test_durable_answers.py"
_LOST = "tests/broker/test_lost_log.py"
_ROTATE = "tests/storage/test_rotate.py"
_FROM_THE_PAST = f"{_ANSWERS}::test_nothing_is_answered_or_refused_from_a_log_that_another_writer_has_taken_over"

MUTANTS = [
    Mutant(
        "refusal_without_a_confirmation",
        "A broker that was paused refuses the valid receipt of another broker, and an SQS client takes that for success.",
        _CORE,
        "self._durability.wait(self._log.confirm())",
        "self._durability.wait(self._log.end() - 1)",
        (_FROM_THE_PAST, "tests/sqs/test_lost_log.py"),
    ),
    Mutant(
        "read_without_a_confirmation",
        "A broker that was paused lists messages that another broker has deleted.",
        _CORE,
        "self.durability.wait(self.log.confirm())",
        "self.durability.wait(self.log.end() - 1)",
        (_FROM_THE_PAST,),
    ),
    Mutant(
        "batch_that_deletes_nothing_without_a_confirmation",
        "A broker that was paused tells that messages are gone which another broker still has.",
        "wonderq/broker/changes.py",
        "            self._core.confirm()\n        return results\n",
        "            self._core.wait_until_durable()\n        return results\n",
        (_FROM_THE_PAST,),
    ),
    Mutant(
        "repeated_request_without_a_confirmation",
        "A broker that was paused says that a request was carried out whose messages another broker has dropped.",
        "wonderq/broker/produce.py",
        "else core.log.confirm()",
        "else core.log.end() - 1",
        (_FROM_THE_PAST,),
    ),
    Mutant(
        "finished_nothing_without_a_confirmation",
        "A broker that was paused refuses what a consumer wants to finish, without asking the log.",
        "wonderq/broker/polls.py",
        "                if finished_any and not batches:\n                    self._core.confirm()\n",
        "                if finished_any and not batches:\n                    self._core.wait_until_durable()\n",
        (_FROM_THE_PAST,),
    ),
    Mutant(
        "rotation_syncs",
        "The end of a part waits for the disk, or for an election of a replicated log, while callers hold their locks.",
        _FILE,
        "            return self._position(self._enter(spare))\n",
        "            end = self._position(self._enter(spare))\n        self.sync()\n        return end\n",
        (f"{_ROTATE}::test_a_rotation_writes_and_syncs_nothing_of_the_log",),
    ),
    Mutant(
        "room_of_a_rotation_does_not_count",
        "On a nearly full disk, a produce is refused while the end of a segment is being cut off.",
        _FILE,
        "need + leave_bytes <= room + self._bytes_freed_soon()",
        "need + leave_bytes <= room",
        (
            f"{_ROTATE}::test_the_room_that_a_rotation_gives_back_counts_before_it_is_there",
            "tests/broker/test_maintenance.py::test_nobody_is_refused_or_waits_between_a_rotation_and_the_room_that_it_gives_back",
        ),
    ),
    Mutant(
        "room_of_a_rotation_counts_for_ever",
        "After a rotation, deletes find no room on a full disk, because produces have taken it.",
        _FILE,
        "if ended is None or ended.target.number < self._written_end.number:",
        "if ended is None:",
        (f"{_ROTATE}::test_the_room_that_a_rotation_gives_back_counts_only_once",),
    ),
    Mutant(
        "rotation_is_not_completed",
        "A segment in use that is full of garbage stays for ever, and no producer finds room.",
        "wonderq/broker/maintenance.py",
        "            self._log.rotate()  # only a part that has ended can be dropped\n            self._log.sync()\n",
        "            self._log.rotate()  # only a part that has ended can be dropped\n",
        (
            "tests/broker/test_maintenance.py::test_nobody_is_refused_or_waits_between_a_rotation_and_the_room_that_it_gives_back",
        ),
    ),
    Mutant(
        "trim_before_its_rotation_is_completed",
        "On a full disk a segment is removed that the log still names as its first, and the next start is refused.",
        _FILE,
        "its seal records the base\n            self.sync()\n",
        "its seal records the base\n",
        ("tests/storage/test_trim_crash.py::test_without_room_to_say_that_a_segment_goes_it_stays",),
    ),
    Mutant(
        "waiter_left_asleep_when_the_log_is_lost",
        "A consumer waits at a broker that has lost its log, while another broker has messages for it.",
        _CORE,
        "            self.transaction.ended = error\n            self.consumers.wake_all()\n",
        "            self.transaction.ended = error\n",
        (f"{_LOST}::test_whoever_waits_for_a_message_is_told_at_once",),
    ),
    Mutant(
        "broker_kept_after_its_log_is_lost",
        "A broker goes on with a state that no log has.",
        _CORE,
        "            self.transaction.ended = error\n            self.consumers.wake_all()\n",
        "            self.consumers.wake_all()\n",
        (f"{_LOST}::test_whoever_waits_for_a_message_is_told_at_once",),
    ),
    Mutant(
        "lost_log_taken_for_a_damaged_one",
        "An operator repairs a log that is whole, because another broker has compacted it.",
        "wonderq/broker/reader.py",
        "core.confirm()  # another writer may have dropped them",
        "core.wait_until_durable()",
        (f"{_LOST}::test_what_the_new_owner_dropped_is_no_damage",),
    ),
]
