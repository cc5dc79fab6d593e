"""Tools that write into a folder while the machine's clock is far ahead: no time of the future gets into the log."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.folders import snapshot
from tests.tools.copies import bodies_in, compact_anyhow, opened
from tests.tools.folders import records_of
from wonderq.cli.main import main
from wonderq.folder.import_ import DoubtfulClockError, Importer, into_folder
from wonderq.runtime.time_evidence import Sighting, TimeEvidence
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq_storage import FileLog

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
LINES = [b'{"type":"queue","queue":"orders"}', b'{"type":"message","queue":"orders","message":"imported"}']


class Machine:
    """The time module of a machine, and what it knows of its own clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = START_MS
        self.is_synchronised = False
        monkeypatch.setattr("wonderq.runtime.clock.time", self)
        monkeypatch.setattr("wonderq.folder.import_.wall_clock_ms", lambda: self.ms)
        monkeypatch.setattr(TimeEvidence, "is_synchronised", lambda _: self.is_synchronised)

    def time_ns(self) -> int:
        return self.ms * 1_000_000

    def monotonic_ns(self) -> int:
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with messages that are kept for 30 days, and with something to compact."""
    clock = FakeClock(START_MS)
    with opened(tmp_path / "d", clock=clock) as broker:
        broker.put_queue("orders", retention_ms=30 * DAY_MS)
        broker.produce("orders", ["kept"])
        for _ in range(20):
            broker.produce("junk", ["x" * 1000])
        broker.purge("junk")
    return tmp_path / "d"


def newest_ms(folder: Path) -> int:
    return max(record.decode_typed(each.data).at_ms for each in records_of(folder))


def test_a_compaction_takes_no_time_from_the_machine(folder: Path, machine: Machine) -> None:
    machine.ms += 365 * DAY_MS
    before_ms = newest_ms(folder)
    assert compact_anyhow(folder).segments > 1
    assert newest_ms(folder) == before_ms
    with opened(folder, clock=FakeClock(START_MS + 1000)) as broker:
        assert broker.queue("orders").now_ms == START_MS + 1000
        broker.upkeep()
    assert bodies_in(folder, "orders") == ["kept"]


def test_a_compaction_makes_no_queue(tmp_path: Path) -> None:
    """It knows no time at which it could have been made."""
    log = FileLog(tmp_path, segment_bytes=1 << 16)
    list(log.replay())
    log.start()
    log.close()
    compact_anyhow(tmp_path)
    log = FileLog(tmp_path)
    state, _ = replay_log(log)
    log.close()
    assert state.queues == {}


def test_an_import_with_a_doubtful_clock_is_refused(folder: Path, machine: Machine) -> None:
    machine.ms += 2 * DAY_MS
    before = [each.data for each in records_of(folder)]
    with (
        pytest.raises(DoubtfulClockError, match=r"2 days, 0:00:00 ahead.*--accept-clock"),
        into_folder(folder),
    ):
        pytest.fail("it was let in")
    assert [each.data for each in records_of(folder)] == before


@pytest.mark.parametrize("evidence", ["accepted", "synchronised", "seen since", "soon"])
def test_an_import_with_a_clock_that_is_right_goes_by_it(folder: Path, machine: Machine, evidence: str) -> None:
    machine.ms += 60_000 if evidence == "soon" else 2 * DAY_MS
    machine.is_synchronised = evidence == "synchronised"
    if evidence == "seen since":
        TimeEvidence(folder).save(Sighting(machine.ms - 1000, "", 0))
    with into_folder(folder, accept_clock=evidence == "accepted") as target:
        Importer(target).run(LINES)
    assert newest_ms(folder) == machine.ms
    assert bodies_in(folder, "orders") == ["kept", "imported"]


def test_an_import_into_a_new_folder_believes_the_clock(tmp_path: Path, machine: Machine) -> None:
    machine.ms += 365 * DAY_MS
    with into_folder(tmp_path / "new") as target:
        Importer(target).run(LINES)
    assert newest_ms(tmp_path / "new") == machine.ms


@pytest.mark.usefixtures("machine")
def test_the_command_says_what_to_do_about_the_clock(
    folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.ms += 2 * DAY_MS

    def give_lines() -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(LINES))))

    give_lines()
    before = snapshot(folder).keys()
    assert main(["folder", "import", str(folder)]) == 1
    assert "Nothing was imported" in capsys.readouterr().err
    assert snapshot(folder).keys() == before
    assert main(["folder", "import", str(folder), "--accept-clock", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 1


def test_a_running_broker_has_a_clock_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folder", "import", "--url", "http://127.0.0.1:1", "--accept-clock"]) == 2
    assert "--accept-clock is for a folder" in capsys.readouterr().err
