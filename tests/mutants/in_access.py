"""Bugs in keys and in what they open."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CHECKED = "tests/http/test_checked_is_changed.py"
_QUEUES = "wonderq/rest/queues.py"
_REDRIVE = "wonderq/broker/redrive.py"
_SCHEDULES = "wonderq/broker/schedules.py"
_RESOURCE = "wonderq/rest/resource.py"
MUTANTS = [
    Mutant(
        "keys_are_not_compared",
        "Whoever knows a key's public id is let in.",
        "wonderq/auth/keys.py",
        "return key if same and scheme",
        "return key if key is not _NOBODY and scheme",
        ("tests/http/test_access.py::test_an_id_is_compared_with_its_own_hash_alone", "tests/http/test_access.py"),
    ),
    Mutant(
        "expired_keys_count",
        "A key never expires.",
        "wonderq/auth/keys.py",
        ' == "bearer" and not key.expired(self._now_s())',
        ' == "bearer"',
        ("tests/keys/test_keys_file.py::test_a_key_counts_until_it_expires",),
    ),
    Mutant(
        "revoking_the_last_key_opens_the_broker",
        "With its last key revoked, a broker lets everybody in.",
        "wonderq/auth/keys.py",
        "self.required = self.required or bool(keys)",
        "self.required = bool(keys)",
        ("tests/keys/test_keys_file.py",),
    ),
    Mutant(
        "a_file_that_cannot_be_read_has_no_keys",
        "A broker that reads a damaged file locks out its clients.",
        "wonderq/auth/keys.py",
        "            if str(error) != self._last_error:\n",
        "            self._keys = {}\n            if str(error) != self._last_error:\n",
        ("tests/keys/test_keys_file.py",),
    ),
    Mutant(
        "writers_do_not_wait",
        "Of two keys made at once, one is lost.",
        "wonderq/auth/keys.py",
        "fcntl.flock(fd, fcntl.LOCK_EX)",
        "fcntl.flock(fd, fcntl.LOCK_SH)",
        ("tests/keys/test_keys_file.py::test_a_writer_waits_for_another",),
    ),
    Mutant(
        "a_lock_on_a_renamed_file_counts",
        "A writer that waited for another writes into the file that is read.",
        "wonderq/auth/keys.py",
        "if os.path.samestat(os.fstat(fd), os.stat(unfinished)):",
        "if True:",
        ("tests/keys/test_keys_file.py",),
    ),
    Mutant(
        "keys_take_their_name_before_they_are_synced",
        "After a power cut the file of keys is empty.",
        "wonderq/auth/keys.py",
        "        data = data[os.write(fd, data) :]\n    os.fsync(fd)\n",
        "        data = data[os.write(fd, data) :]\n",
        ("tests/keys/test_keys_file.py",),
    ),
    Mutant(
        "what_has_no_rule_is_open",
        "A route that somebody forgot to give a rule is open to every key.",
        "wonderq/auth/access.py",
        "        if found is None:\n            return None  #",
        "        if found is None or role is None:\n            return None  #",
        ("tests/http/test_access.py::test_a_route_or_method_without_a_rule_is_refused_to_everybody",),
    ),
    Mutant(
        "patterns_do_not_count",
        "A key opens every queue.",
        "wonderq/auth/access.py",
        'not key.opens(found[2].get("queue", DEFAULT_QUEUE))',
        "not key.queues",
        ("tests/http/test_access.py",),
    ),
    Mutant(
        "any_receipt_makes_a_batch_fenced",
        "A consumer takes messages from others by ids, among receipts of its own.",
        _RESOURCE,
        "any(target.receipt is None for target in targets)",
        "all(target.receipt is None for target in targets)",
        ("tests/http/test_access.py",),
    ),
    Mutant(
        "all_queues_are_listed",
        "A key sees the names of all queues.",
        _QUEUES,
        "is_theirs = self.permits(req)\n        names",
        "is_theirs = lambda _: True\n        names",
        ("tests/http/test_access.py::test_only_ones_own_queues_are_listed",),
    ),
    Mutant(
        "one_queue_of_several_is_checked",
        "A key hands messages over to a queue that it does not open, behind one that it opens.",
        "wonderq/rest/messages.py",
        "            if each.queue not in outputs:\n                self.check_queue",
        "            if not outputs:\n                self.check_queue",
        (f"{_CHECKED}::test_a_hand_over_is_for_keys_that_open_all_its_queues",),
    ),
    Mutant(
        "some_queues_are_all_queues",
        "Dead letters return to a queue that the key does not open.",
        "wonderq/auth/keys.py",
        'return "*" in self.queues',
        "return bool(self.queues)",
        (f"{_CHECKED}::test_letters_go_back_by_keys_for_all_queues_only",),
    ),
    Mutant(
        "a_schedule_changes_hands_after_the_check",
        "A key changes the schedule of a queue that it does not open, if it asks at the right moment.",
        _SCHEDULES,
        "                if _metadata(state, name) is not before:\n                    continue",
        "                if before is None and _metadata(state, name) is not before:\n                    continue",
        (f"{_CHECKED}::test_at_no_moment_can_a_change_of_another_be_met",),
    ),
    Mutant(
        "a_schedule_of_others_is_changed",
        "A key takes over the schedule of another queue.",
        _SCHEDULES,
        "                if not is_permitted:\n",
        "                if False:\n",
        (f"{_CHECKED}::test_a_name_that_is_taken_is_refused_without_its_queue",),
    ),
    Mutant(
        "any_schedule_is_found",
        "A key reads and deletes the schedules of queues that it does not open.",
        _SCHEDULES,
        'if stored is None or not permits(stored.value["queue"]):',
        "if stored is None:",
        (f"{_CHECKED}::test_no_refusal_tells_which_schedules_there_are",),
    ),
    Mutant(
        "any_task_is_cancelled",
        "A key cancels the redrive of a queue that it does not open.",
        _REDRIVE,
        "if number not in (None, redrive.queue_number) or not permits(redrive.source):",
        "if number not in (None, redrive.queue_number):",
        (f"{_CHECKED}::test_at_no_moment_can_a_change_of_another_be_met",),
    ),
    Mutant(
        "dead_letters_by_a_limit_alone",
        "A key makes a queue send dead letters to a queue that it does not open.",
        "wonderq/broker/queues.py",
        "(target, changed.max_receives) != (before.dead_letter_queue, before.max_receives)",
        "target != before.dead_letter_queue",
        (f"{_CHECKED}::test_at_no_moment_can_a_change_of_another_be_met",),
    ),
]
