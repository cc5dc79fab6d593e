"""Bugs in the calls to the operating system, and in making and removing files."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DISK = "storage/wonderq_storage/disk.py"
_SEGMENT = "storage/wonderq_storage/segment.py"
_CHECKPOINT = "storage/wonderq_storage/checkpoint.py"
_DISK_TESTS = "tests/storage/test_disk.py"

MUTANTS = [
    Mutant(
        "lock_not_taken",
        "Two brokers write into one folder.",
        _DISK,
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        ("tests/storage/test_lock.py::test_a_second_process_leaves_without_having_written_anything",),
    ),
    Mutant(
        "file_sync_does_nothing",
        "Nothing that is acknowledged survives a power cut.",
        _DISK,
        "                os.fdatasync(self._fd)\n",
        "                pass\n",
        (f"{_DISK_TESTS}::test_a_sync_is_asked_of_the_system",),
    ),
    Mutant(
        "folder_sync_does_nothing",
        "A power cut takes back the names of files.",
        _DISK,
        "                flush_to_medium(fd)\n",
        "                pass\n",
        (f"{_DISK_TESTS}::test_a_sync_is_asked_of_the_system",),
    ),
    Mutant(
        "short_write_is_the_end_of_it",
        "A write that the kernel did in part leaves a hole that is acknowledged.",
        _DISK,
        "        while written < len(data):\n",
        "        while False:\n",
        (f"{_DISK_TESTS}::test_what_the_system_writes_in_part_is_written_whole",),
    ),
    Mutant(
        "short_write_goes_on_in_the_wrong_place",
        "The rest of a write that the kernel did in part lands over its beginning.",
        _DISK,
        "memoryview(data)[written:], offset + written)",
        "memoryview(data)[written:], offset)",
        (f"{_DISK_TESTS}::test_what_the_system_writes_in_part_is_written_whole",),
    ),
    Mutant(
        "short_read_is_the_end_of_it",
        "A partial read by the kernel counts as the end of the log.",
        _DISK,
        "        while got < length and ",
        "        while got < 0 and ",
        (f"{_DISK_TESTS}::test_what_the_system_reads_in_part_is_read_whole",),
    ),
    Mutant(
        "folders_made_without_a_sync",
        "A power cut takes away the folder itself.",
        _DISK,
        "        self.sync_folder(folder.parent)\n",
        "",
        ("tests/storage/test_lock.py::test_the_folder_is_made_with_those_above_it",),
    ),
    Mutant(
        "segment_published_unsynced",
        "A power cut leaves a segment without its header.",
        _SEGMENT,
        "    segment.file.sync()\n    path = ",
        "    path = ",
        (
            "tests/storage/test_trim_crash.py::test_a_crash_in_a_compaction_or_a_checkpoint_changes_nothing_that_a_client_sees",
        ),
    ),
    Mutant(
        "segment_name_not_synced",
        "A power cut takes away the name of a segment that holds acknowledged records.",
        _SEGMENT,
        "    disk.sync_folder(path.parent)\n    segment.file.path = path",
        "    segment.file.path = path",
        ("tests/storage/test_trim_crash.py::test_a_crash_while_trimming_leaves_all_that_was_kept",),
    ),
    Mutant(
        "removal_not_synced",
        "A power cut brings back an old segment without those that came after it.",
        _SEGMENT,
        "    disk.sync_folder(segment.path.parent)\n",
        "",
        ("tests/storage/test_trim_crash.py::test_a_crash_while_trimming_leaves_all_that_was_kept",),
    ),
    Mutant(
        "half_made_segment_left",
        "A full disk is left fuller by each attempt.",
        _SEGMENT,
        "            file.close()\n            disk.remove(path)\n            raise\n",
        "            file.close()\n            raise\n",
        ("tests/storage/test_disk_full.py::test_a_full_disk_is_an_error_that_changes_nothing",),
    ),
    Mutant(
        "checkpoint_not_synced",
        "A power cut leaves a checkpoint without its bytes, after the older ones were removed.",
        _CHECKPOINT,
        "                file.sync()\n                self._disk.rename",
        "                self._disk.rename",
        ("tests/storage/test_checkpoint.py::test_it_is_durable_before_it_counts_and_counts_before_older_ones_go",),
    ),
    Mutant(
        "checkpoint_name_not_synced",
        "A power cut takes away the new checkpoint after the older ones were removed.",
        _CHECKPOINT,
        "        self._disk.sync_folder(self._folder)\n",
        "",
        ("tests/storage/test_checkpoint.py::test_it_is_durable_before_it_counts_and_counts_before_older_ones_go",),
    ),
    Mutant(
        "one_checkpoint_kept",
        "A damaged checkpoint costs a replay of everything.",
        _CHECKPOINT,
        "KEPT = 2",
        "KEPT = 1",
        ("tests/storage/test_checkpoint.py::test_a_checkpoint_without_chunks_and_one_of_many",),
    ),
]
