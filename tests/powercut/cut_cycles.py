"""Cuts the power of a broker's file system under load, again and again, and checks every promise.

    python -m tests.powercut.cut_cycles --cuts 2000 --filesystem ext4|xfs [--seed S] [--options data=writeback]

It is `tests.support.kill_cycles` with another end of each cycle: where that kills the broker, this cuts the power of the file
system under it and mounts what is on the medium. In some cycles the broker goes on for a moment without its disk.
Segments are small, with checkpoints and compaction all the time, so every cut is near a rotation, a checkpoint or a removal.
There are cuts under load, while nobody works, while the broker starts and recovers, several in a row, and right after a
clean stop.

That the checker can find a loss is shown in test_power_cuts.py, by the losses of a policy that promises less.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.broker_process import BrokerProcess
from tests.support.filesystem import FILESYSTEMS, Medium, why_not
from tests.support.history.calls import Call, Consume, FinalState, Outcome, Produce
from tests.support.kill_cycles import KILLS, MECHANISMS, Options, Report, Run, Traffic
from tests.support.mechanisms import NOT_WHOLE, TORN_TAILS, Mechanisms, scraped
from tests.support.worker import Load

SEGMENT_BYTES = 64 << 10

#: Permitted error codes after the disk has failed.
_DISK_IS_GONE = {"log_failed", "log_damaged"}

#: Error codes permitted at any time.
_REFUSALS = {"message_not_found", "stale_receipt", "not_claimed", "shutting_down"}

CUTS, LOST_DISKS = "power cuts", "lost disks"

#: Time that a broker runs without its disk before it is killed.
_AFTERLIFE_S = 0.03


class CutBroker(BrokerProcess):
    """A broker whose power is cut where others are killed. Its log after that is thrown away: it shows no failure."""

    def __init__(self, medium: Medium, data: Path, errors: Path, *, fsync: str) -> None:
        self._medium = medium
        self._over = False
        super().__init__(data, "--fsync", fsync, segment_bytes=SEGMENT_BYTES, stderr=errors)

    def kill(self) -> None:
        """Cut the power of the machine: not even an answer that was on its way leaves the broker any more."""
        if self._over:
            return
        # First, since a sync that is under way when the file system is shut down may return as if it had succeeded, though
        # what it was to sync is gone: seen on ext4 and XFS alike. A killed thread does not come back from the sync.
        self.process.kill()
        self._cut(0)

    def lose_disk(self, for_s: float) -> None:
        """Cut the power of the disk alone, and let the broker go on without it for a while before it is killed."""
        self._cut(for_s)

    def _cut(self, for_s: float) -> None:
        self._over = True
        said_bytes = self.stderr.stat().st_size
        self._medium.cut()
        time.sleep(for_s)
        super().kill()
        os.truncate(self.stderr, said_bytes)
        self._medium.revive()


class CutRun(Run):
    """All cycles, folder after folder, on one medium. A cycle has at least one cut."""

    required = (*MECHANISMS, CUTS, LOST_DISKS, TORN_TAILS)

    def __init__(self, options: Options, folder: Path, medium: Medium) -> None:
        self._medium = medium
        super().__init__(options, folder)

    def _begin_folder(self) -> None:
        super()._begin_folder()
        self.data = self._medium.root / self.data.name

    def _start(self) -> CutBroker:
        return CutBroker(self._medium, self.data, self.errors, fsync=self.options.fsync)

    def _work(self, broker: BrokerProcess, url: str, load: Load) -> None:
        traffic = Traffic() if self.random.random() < 0.1 else self._begin_traffic(url, load)
        time.sleep(self.random.uniform(0.005, 0.3))
        self.mechanisms.counts.update(scraped(url))
        self._end(broker, traffic, stop=self.random.random() < 0.04)

    def _bring_down(self, broker: BrokerProcess, *, stopped: bool) -> None:
        assert isinstance(broker, CutBroker)
        self._disk_lost_s = float("inf")
        if self.random.random() < 0.15:
            self._disk_lost_s = time.monotonic()
            broker.lose_disk(self.random.uniform(0.0, _AFTERLIFE_S))
            self.mechanisms.counts[LOST_DISKS] += 1
        else:
            broker.kill()
        self.mechanisms.counts[KILLS] += 1

    def _known_of(self, call: Call, ended_s: float) -> Call:
        call = super()._known_of(call, ended_s)
        return _unsure(call) if call.end_s >= self._disk_lost_s else call

    def _judge(self, final: FinalState | None) -> None:
        super()._judge(final)
        self.mechanisms.counts[CUTS] = self._medium.cuts


def _unsure(call: Call) -> Call:
    """Return a call that was answered while the disk was gone as one that was not: on a real disk it says nothing.

    What it was refused with stays if it is not what a broker without a disk may say.
    """
    if call.code is not None and call.code not in _DISK_IS_GONE | _REFUSALS:
        return call
    call = replace(call, outcome=Outcome.UNKNOWN, code=None)
    match call:
        case Produce():
            return replace(call, ids=())
        case Consume():
            return replace(call, deliveries=())
    return call


def run(options: Options, filesystem: str, folder: Path, *, mount_options: str = "") -> tuple[Report, Mechanisms]:
    """Run in a folder. With a violation the data is kept in ``folder/kept``."""
    with Medium(folder / "medium", filesystem, options=mount_options) as medium:
        cutting = CutRun(options, folder, medium)
        report = cutting.run(_say_with_cuts(medium))
        cutting.mechanisms.counts[CUTS] = medium.cuts
        if report.violations:
            shutil.copytree(cutting.data, folder / "kept")
        return report, cutting.mechanisms


def _say_with_cuts(medium: Medium) -> Callable[[str], None]:
    return lambda text: print(f"cuts {medium.cuts}, {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.powercut.cut_cycles", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200, help="minimum number of power cuts (default %(default)s)")
    parser.add_argument("--filesystem", choices=FILESYSTEMS, default="ext4")
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument("--options", default="", help="of the mount, as in data=writeback")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}, {given.filesystem}", flush=True)
    if reason := why_not(given.filesystem):
        print(f"cannot cut the power of {given.filesystem} here: {reason}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that broker and mount are ended too
    began_s = time.monotonic()
    options = Options(cycles=given.cuts, seed=seed, segment_bytes=SEGMENT_BYTES)
    folder = Path(tempfile.mkdtemp(prefix="wonderq-power-cuts-"))
    kept = False
    try:
        report, mechanisms = run(options, given.filesystem, folder, mount_options=given.options)
        verdict, is_whole = mechanisms.verdict(is_slice=given.slice)
        print(f"{report}, {time.monotonic() - began_s:.0f} s\n{verdict}")
        for violation in report.violations[:20]:
            print(violation)
        kept = bool(report.violations)
    finally:
        if not kept:
            shutil.rmtree(folder)
    if kept:
        print(f"the data folder and the broker's log are kept in {folder}")
        return 1
    return 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
