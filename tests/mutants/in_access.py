"""Bugs in keys and in what they open."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_QUEUES = "wonderq/rest/queues.py"
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
        "matches=None if self.access is None else self.access.queue_filter(req.auth),",
        "matches=None,",
        ("tests/http/test_access.py::test_only_ones_own_queues_are_listed",),
    ),
    Mutant(
        "sqs_lists_all_queues",
        "A key sees the names of all queues in the lists of SQS.",
        "wonderq/sqs/queues.py",
        "names = context.broker.queue_names(prefix=prefix, after=after, limit=most + 1, matches=context.opens)",
        "names = context.broker.queue_names(prefix=prefix, after=after, limit=most + 1)",
        ("tests/sqs/test_access.py",),
    ),
    Mutant(
        "sqs_lists_all_sources",
        "A key sees the names of all queues that send their dead letters to one.",
        "wonderq/sqs/queues.py",
        "names = context.broker.sources_of(target, after=after, limit=most + 1, matches=context.opens)",
        "names = context.broker.sources_of(target, after=after, limit=most + 1)",
        ("tests/sqs/test_access.py",),
    ),
]
