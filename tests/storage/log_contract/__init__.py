"""Contract of every `wonderq_storage.log.Log` with its callers, as a suite.

Subclass `LogContract` in a test module and give it three fixtures: ``open_log``, a function that opens the log, the same
one at each call, as it is before `replay`; ``open_other_log``, which does so for another log; and ``surroundings``, by
which a test makes room scarce and writes fail. A log is closed before it is opened again, except by the tests of what
that means.
"""

from __future__ import annotations

from tests.storage.log_contract.failures import FailuresContract
from tests.storage.log_contract.logs import OpenLog, Surroundings
from tests.storage.log_contract.marks import MarksContract
from tests.storage.log_contract.old_parts import OldPartsContract
from tests.storage.log_contract.records import RecordsContract
from tests.storage.log_contract.room import RoomContract

__all__ = ["LogContract", "OpenLog", "Surroundings"]


class LogContract(RecordsContract, MarksContract, OldPartsContract, RoomContract, FailuresContract):
    """All rules for a log."""
