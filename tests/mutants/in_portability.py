"""Bugs in what replaces the calls of Linux on other systems."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_DISK = "storage/wonderq_storage/disk.py"
_DISK_TESTS = "tests/portability/test_disk.py"
_POLLING = "wonderq/httpd/polling.py"
_POLLING_TESTS = "tests/portability/test_polling.py"

MUTANTS = [
    Mutant(
        "drive_not_flushed_on_macos",
        "On macOS, a power cut loses what the drive had in its cache.",
        _DISK,
        "            fcntl.fcntl(fd, _FULL_SYNC)\n",
        "            os.fsync(fd)\n",
        (f"{_DISK_TESTS}::test_on_macos_files_and_folders_are_flushed_out_of_the_drive",),
    ),
    Mutant(
        "failed_flush_on_macos_is_tried_with_fsync",
        "On macOS, records are acknowledged although the disk failed to write them.",
        _DISK,
        "            if error.errno not in _NOT_SUPPORTED:\n                raise\n        else:\n            return\n    os.fsync",
        "            pass\n        else:\n            return\n    os.fsync",
        (f"{_DISK_TESTS}::test_a_full_sync_that_failed_is_not_tried_in_another_way",),
    ),
    Mutant(
        "allocated_space_is_a_hole",
        "Without posix_fallocate, a write of acknowledged records finds no room, which ends all writing.",
        _DISK,
        "            self._fill_holes(size)\n",
        "            os.ftruncate(self._fd, size)\n",
        (f"{_DISK_TESTS}::test_space_is_allocated_by_writing_zeros",),
    ),
    Mutant(
        "allocation_wipes_what_a_read_left_out",
        "Without posix_fallocate, a start wipes records of a copied log.",
        _DISK,
        "            there = DiskFile.read(self, length, start).ljust(",
        "            there = os.pread(self._fd, length, start).ljust(",
        (f"{_DISK_TESTS}::test_holes_are_filled_and_content_stays",),
    ),
    Mutant(
        "closed_numbers_stay_in_the_poll",
        "With poll, the loop spins for a file that took the number of a closed connection.",
        _POLLING,
        "                self._poll.unregister(fileno)\n",
        "                pass\n",
        (f"{_POLLING_TESTS}::test_a_closed_connection_whose_number_another_file_got_is_not_reported_again",),
    ),
    Mutant(
        "hang_up_of_a_kqueue_is_missed",
        "On macOS, a client that has disconnected keeps its place.",
        _POLLING,
        "                events = select.POLLHUP if flags & _system.KQ_EV_EOF else 0\n",
        "                events = 0\n",
        (f"{_POLLING_TESTS}::test_a_reset_is_a_hang_up_and_nothing_else_is",),
    ),
    Mutant(
        "watch_for_a_hang_up_spins",
        "On macOS, the loop spins while a client waits after it ended its output.",
        _POLLING,
        "        filters[_system.KQ_FILTER_WRITE] = _system.KQ_EV_CLEAR\n",
        "        filters[_system.KQ_FILTER_WRITE] = 0\n",
        (f"{_POLLING_TESTS}::test_a_client_that_ended_its_output_is_no_hang_up",),
    ),
    Mutant(
        "kqueue_keeps_the_old_filter",
        "On macOS, a connection that was watched for a hang-up is written to only once.",
        _POLLING,
        "            if after.get(each) != flags\n",
        "            if each not in after\n",
        (f"{_POLLING_TESTS}::test_reading_and_writing_go_on_after_a_watch_for_hang_ups",),
    ),
    Mutant(
        "kqueue_trusts_a_closed_number",
        "On macOS, a new connection is not watched if an earlier one had its number.",
        _POLLING,
        "        self._filters[fileno] = {}\n        self.modify",
        "        self._filters.setdefault(fileno, {})\n        self.modify",
        (f"{_POLLING_TESTS}::test_a_closed_connection_leaves_and_its_number_may_return",),
    ),
]
