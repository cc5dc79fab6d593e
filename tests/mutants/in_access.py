"""Bugs in keys and in what they open."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_QUEUES = "wonderq/rest/queues.py"
_RESOURCE = "wonderq/rest/resource.py"
MUTANTS = [
    Mutant(
        "keys_that_anybody_can_change_are_used",
        "Every user of the machine can add a key to the file.",
        "wonderq/auth/keys.py",
        "        if mode & stat.S_IWOTH:\n",
        "        if False:\n",
        ("tests/keys/test_keys_file.py::test_a_file_that_every_user_can_change_is_refused",),
    ),
    Mutant(
        "the_folder_is_open_to_others",
        "Every user of the machine can list the folder of the log.",
        "storage/wonderq_storage/disk.py",
        "folder.mkdir(exist_ok=True, mode=0o700)",
        "folder.mkdir(exist_ok=True, mode=0o755)",
        ("tests/storage/test_private_folders.py::test_a_new_folder_is_private",),
    ),
    Mutant(
        "keys_are_not_compared",
        "A client that knows the public id of a key needs no secret.",
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
        "A route without a rule is open to every key.",
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
        "infos = [info for info in infos if is_theirs(info.name)]",
        "infos = [info for info in infos if is_theirs(info.name) or True]",
        ("tests/http/test_access.py::test_only_ones_own_queues_are_listed",),
    ),
]
