"""A start with a doubtful system clock ends nothing, until the time is confirmed or corrected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.system_clock import DAY_MS, HOUR_MS, START_MS, YEAR_MS, System, contents, fill
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.model.messages import Target
from wonderq.runtime.clock import CautiousClock
from wonderq.runtime.time_evidence import CLOCK_FILE, Sighting, TimeEvidence
from wonderq_storage import FileLog, SyncPolicy


class Machine(TimeEvidence):
    """Evidence as a test sets it. The time since the boot passes with the monotonic clock of `System`."""

    def __init__(self, folder: Path, system: System) -> None:
        super().__init__(folder)
        self._system = system
        self.synchronised = False
        self.boot = "first"

    def is_synchronised(self) -> bool:
        return self.synchronised

    def boot_id(self) -> str:
        return self.boot

    def since_boot_ms(self) -> int:
        return self._system.monotonic_ms


class Life:
    """A broker that is stopped and started on one folder and machine."""

    def __init__(self, folder: Path, system: System) -> None:
        self.folder, self.system, self.machine = folder, system, Machine(folder, system)
        self.start()

    def start(self, *, accept: bool = False) -> Broker:
        log = FileLog(self.folder, sync=SyncPolicy("os"), segment_bytes=1 << 16)
        self.clock = CautiousClock(self.machine, max_jump_ms=HOUR_MS, accept=accept)
        self.broker = Broker(log, clock=self.clock)
        self.keeper = Housekeeper(self.broker)
        return self.broker

    def stop(self) -> None:
        self.broker.close()
        self.clock.remember(at_once=True)

    def reboot(self) -> None:
        self.machine.boot += "+"
        self.system.reboots()

    def restart_ahead(self, by_ms: int = DAY_MS) -> Broker:
        """Restart after a second, with the machine's clock ``by_ms`` ahead of the real time."""
        self.stop()
        self.system.passes(1000)
        self.system.wall_ms += by_ms
        self.reboot()
        return self.start()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


@pytest.fixture
def life(tmp_path: Path, system: System) -> Life:
    return Life(tmp_path, system)


def test_a_clock_far_ahead_ends_nothing(life: Life) -> None:
    receipt = fill(life.broker)
    before = contents(life.broker)
    broker = life.restart_ahead()
    life.keeper.turn()
    assert life.clock.is_held
    assert contents(broker) == before
    assert broker.claim("default") == []
    [warning] = broker.warnings
    assert "1 day, 0:00:01 ahead" in warning
    assert "--accept-clock" in warning
    broker.delete("default", Target(receipt=receipt))
    broker.close()


def test_work_continues_as_if_no_time_had_passed(life: Life, system: System) -> None:
    fill(life.broker)
    broker = life.restart_ahead()
    broker.produce("default", ["new"])
    assert [each.body for each in broker.claim("default")] == ["new"]
    system.passes(29_999)
    assert broker.claim("default") == []
    system.passes(1)
    assert [each.body for each in broker.claim("default")] == ["claimed", "new"]
    assert START_MS + 30_000 <= broker.queue("default").now_ms < START_MS + 40_000
    broker.close()


def test_the_clock_follows_once_the_system_clock_is_corrected(life: Life, system: System) -> None:
    fill(life.broker)
    before = contents(life.broker)
    broker = life.restart_ahead()
    life.keeper.turn()
    system.passes(500)
    system.wall_ms -= DAY_MS
    life.keeper.turn()
    assert not life.clock.is_held
    assert broker.warnings == []
    assert contents(broker) == before
    assert broker.queue("default").now_ms == system.wall_ms
    broker.close()


def confirm_by_operator(life: Life) -> None:
    life.stop()
    life.start(accept=True)


def confirm_by_time_service(life: Life) -> None:
    life.machine.synchronised = True
    life.keeper.turn()


@pytest.mark.parametrize("confirm", [confirm_by_operator, confirm_by_time_service])
def test_a_confirmed_time_is_followed(life: Life, system: System, confirm: Callable[[Life], None]) -> None:
    fill(life.broker)
    life.restart_ahead()
    confirm(life)
    life.keeper.turn()
    assert not life.clock.is_held
    assert life.broker.warnings == []
    assert life.broker.queue("default").now_ms == system.wall_ms
    assert [each.body for each in life.broker.claim("default")] == ["claimed", "delayed"]
    assert contents(life.broker)["short"] == {}
    assert contents(life.broker)["ticks"]["unprocessed"] > 1000 - 1
    life.stop()


def test_an_accepted_time_needs_no_further_word(life: Life) -> None:
    fill(life.broker)
    life.restart_ahead()
    confirm_by_operator(life)
    life.stop()
    life.start()
    assert not life.clock.is_held
    life.stop()


@pytest.mark.parametrize("down_ms", [HOUR_MS - 1, 2 * HOUR_MS, 3 * DAY_MS, YEAR_MS])
def test_a_long_stop_in_one_run_of_the_machine_needs_no_operator(life: Life, system: System, down_ms: int) -> None:
    fill(life.broker)
    life.stop()
    system.passes(down_ms)
    broker = life.start()
    assert not life.clock.is_held
    assert broker.queue("default").now_ms == system.wall_ms
    assert broker.warnings == []
    life.stop()


def test_a_jump_while_the_machine_runs_does_not_pass_for_a_long_stop(life: Life, system: System) -> None:
    """The broker then knows the right time: that of its last run, and what has passed since."""
    fill(life.broker)
    life.stop()
    system.passes(90_000)
    system.wall_ms += DAY_MS
    broker = life.start()
    assert life.clock.is_held
    assert broker.queue("default").now_ms == START_MS + 90_000
    assert [each.body for each in broker.claim("default")] == ["claimed", "delayed"]
    life.stop()


def test_the_uptime_of_another_run_of_the_machine_is_no_evidence(life: Life, system: System) -> None:
    life.stop()
    system.passes(3 * DAY_MS)
    life.machine.boot = "second"  # which has been up for as long as the first was, and three days longer
    life.start()
    assert life.clock.is_held
    life.stop()


def test_a_long_stop_over_a_reboot_needs_a_time_service(life: Life, system: System) -> None:
    life.stop()
    system.passes(3 * DAY_MS)
    life.reboot()
    life.machine.synchronised = True
    life.start()
    assert not life.clock.is_held
    life.stop()
    life.machine.synchronised = False
    system.passes(3 * DAY_MS)
    life.reboot()
    life.start()
    assert life.clock.is_held
    life.stop()


def test_a_broker_that_was_idle_for_days_restarts_without_doubt(life: Life, system: System) -> None:
    """Its log has no new record, but housekeeping has stored the time."""
    for _ in range(72):
        system.passes(HOUR_MS)
        life.keeper.turn()
    life.broker.close()  # and no more: the machine was killed
    system.passes(1000)
    life.reboot()
    life.start()
    assert not life.clock.is_held
    life.stop()


def test_the_time_is_stored_at_the_start_and_every_five_minutes(life: Life, system: System) -> None:
    file = life.folder / CLOCK_FILE
    times = []
    for _ in range(7):
        life.keeper.turn()
        sighting = life.machine.last_sighting()
        assert sighting is not None
        times.append(sighting.time_ms - START_MS)
        system.passes(100_000)
    assert times == [0, 0, 0, 300_000, 300_000, 300_000, 600_000]
    assert file.stat().st_mode & 0o777 == 0o600
    life.broker.close()


def test_an_unlimited_jump_is_believed(tmp_path: Path, system: System) -> None:
    life = Life(tmp_path, system)
    fill(life.broker)
    life.stop()
    system.wall_ms += YEAR_MS
    life.reboot()
    clock = CautiousClock(life.machine, max_jump_ms=10**18 * 1000)
    broker = Broker(FileLog(tmp_path, segment_bytes=1 << 16), clock=clock)
    assert broker.queue("default").now_ms == system.wall_ms
    broker.close()


def test_a_new_log_believes_any_clock(life: Life) -> None:
    assert not life.clock.is_held
    assert life.broker.warnings == []
    life.stop()


@pytest.mark.parametrize("jump_ms", [-YEAR_MS, -2 * HOUR_MS, 2 * HOUR_MS, YEAR_MS])
def test_a_jump_while_the_broker_runs_is_reported_and_not_followed(life: Life, system: System, jump_ms: int) -> None:
    fill(life.broker)
    before = contents(life.broker)
    system.wall_ms += jump_ms
    life.keeper.turn()
    assert contents(life.broker) == before
    assert life.broker.queue("default").now_ms == START_MS
    assert life.clock.ahead_ms() == -jump_ms
    [warning] = life.broker.warnings
    assert ("behind" if jump_ms > 0 else "reset-clock") in warning
    system.wall_ms -= jump_ms
    assert life.broker.warnings == []
    life.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"time_ms": "x"}',
        "\udcff",
        "9" * 5000,
        '{"time_ms": 1e400}',
        '{"time_ms": NaN}',
        "[" * 99_999,
    ],
    ids=lambda text: text[:20],
)
def test_a_stored_time_that_cannot_be_read_is_no_evidence(tmp_path: Path, text: str) -> None:
    (tmp_path / CLOCK_FILE).write_bytes(text.encode(errors="surrogateescape"))
    assert TimeEvidence(tmp_path).last_sighting() is None


def test_evidence_of_this_machine(tmp_path: Path) -> None:
    evidence = TimeEvidence(tmp_path)
    assert evidence.is_synchronised() in (True, False)
    assert evidence.boot_id() == evidence.boot_id()
    assert evidence.since_boot_ms() > 0
    sighting = Sighting(1, "boot", 2)
    evidence.save(sighting)
    assert evidence.last_sighting() == sighting
    TimeEvidence(tmp_path / "missing").save(sighting)  # is ignored


def test_a_process_that_is_shown_another_time_is_not_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wonderq.runtime.time_evidence.time.time", lambda: 1e9)
    assert not TimeEvidence(tmp_path).is_synchronised()
