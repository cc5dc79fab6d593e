"""The log in memory that tests use keeps the contract of a log, as one that is locked and as one that can be taken over."""

from __future__ import annotations

import pytest

from tests.storage.log_contract import LogContract, OpenLog, Surroundings
from tests.support.memory_log import MemoryLog

_BYTES = 4000


class Memory:
    """The place of one log."""

    def __init__(self, shared: bool) -> None:
        self._newest = MemoryLog(max_record_bytes=_BYTES, part_bytes=_BYTES, shared=shared)
        self._newest.close()
        self._room_bytes = 1 << 40

    def open_log(self) -> MemoryLog:
        self._newest = self._newest.opened_again()
        self._newest.room_bytes = self._room_bytes - self._newest.used_bytes()
        return self._newest

    def limit_room(self, parts: int) -> None:
        self._room_bytes = parts * _BYTES

    def fail_writes(self) -> None:
        self._newest.is_broken = True

    def work_again(self) -> None:
        self._room_bytes = 1 << 40


@pytest.mark.parametrize("shared", [False, True], ids=["locked", "shared"])
class TestMemoryLog(LogContract):
    @pytest.fixture
    def memory(self, shared: bool) -> Memory:
        return Memory(shared)

    @pytest.fixture
    def surroundings(self, memory: Memory) -> Surroundings:
        return memory

    @pytest.fixture
    def open_log(self, memory: Memory) -> OpenLog:
        return memory.open_log

    @pytest.fixture
    def open_other_log(self, shared: bool) -> OpenLog:
        return Memory(shared).open_log
