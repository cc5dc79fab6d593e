"""Kills a broker at every system call of its storage, and fails every such call; what was acknowledged must be there.

    python -m tests.syscalls.kill_everywhere --workloads 100 [--seed S]

Each workload is a short life of a broker (`tests.syscalls.life`): it is first run undisturbed, to count its calls and to
learn what there is after each step. Then it is run once for each call, with a SIGKILL in its place. The folder must then
show what the last acknowledged step left, or the one after it, from its checkpoint and from the whole log alike. Some of
the folders are started again with a kill at each call of the start, after garbage was put where the next group would go.
Last, it is run once for each call and each error it may give: no step may be acknowledged that is not there after a
restart, no refused one may be there by half, and a log that has failed takes nothing more.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.disks import UnsyncedDisk
from tests.support.folders import end_of_groups, groups_of, segment_files
from tests.support.mechanisms import NOT_WHOLE, Mechanisms
from tests.syscalls.life import SEGMENT_BYTES, STEP_NAMES, Said, live, look, make_deterministic
from tests.syscalls.tracing import CALLS, Traced, count_calls, failing, killing, run_traced, why_not
from wonderq_storage import frame

STEPS = 16

#: Errors to inject per call. With an injected EIO a sync is skipped, and the page cache keeps the data.
ERRORS = {
    "openat": ("EMFILE", "EIO", "ENOSPC"),
    "fallocate": ("ENOSPC", "EIO"),
    "pwrite64": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO",),
    "fsync": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "ftruncate": ("EIO",),
    "close": ("EIO",),
}


#: Errors of these may be nobody's business: of an old checkpoint that cannot be opened or removed, or of a file that was
#: only read.
_TOLERATED = {"openat", "unlink", "close"}


KILLS, KILLS_OF_A_START, TORN_TAILS = "kills", "kills of a start", "torn tails made"
ERRORS_GIVEN, SHORT_WRITES = "errors", "short writes"

#: Mechanisms that a whole run has to exercise: each step of a life, with a kill at each kind of call.
MECHANISMS = (
    *(KILLS, KILLS_OF_A_START, TORN_TAILS, ERRORS_GIVEN, SHORT_WRITES),
    *(f"step {name}" for name in STEP_NAMES),
    *(f"kills at {call}" for call in CALLS),
)


@dataclass(slots=True)
class Report:
    workloads: int = 0
    calls: int = 0
    mechanisms: Mechanisms = field(default_factory=lambda: Mechanisms(MECHANISMS))
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"workloads {self.workloads}, calls {self.calls}, problems {len(self.problems)}"


class Workload:
    """A life, and everything that is done to it."""

    def __init__(self, seed: int, folder: Path, report: Report, *, steps: int = STEPS) -> None:
        self._seed = seed
        self._steps = steps
        self._folder = folder
        self._data = folder / "data"
        self._report = report
        self._chance = random.Random(seed)
        self._clear()
        done, self.calls = count_calls(self._live, folder / "calls")
        self._expected = _said(done)
        if done.code != 0 or any(each.refusal == "OSError" or each.failed for each in self._expected):
            self._complain("undisturbed", f"it ended with {done.code} and said {done.said[-300:]!r}")
        self._check("undisturbed", {self._expected[-1].picture}, self._expected[-1].ms)
        report.workloads += 1
        report.calls += self.calls.total()
        report.mechanisms.counts.update(f"step {each.step}" for each in self._expected if not each.refusal)

    def _live(self, say: Callable[[bytes], None]) -> None:
        live(self._data, self._seed, self._steps, lambda said: say(said.line()))

    def _complain(self, where: str, what: str) -> None:
        self._report.problems.append(f"seed {self._seed}, {where}: {what}")

    def _clear(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)

    def _check(self, where: str, allowed: set[str], ms: int) -> None:
        """Start on the folder twice, by its checkpoint and by all of the log, and look."""
        for checkpoints in (True, False):
            try:
                found = look(self._data, ms, checkpoints=checkpoints, disk=UnsyncedDisk())
            except Exception as error:
                self._complain(where, f"the folder cannot be used: {type(error).__name__}: {error}")
                return
            if found not in allowed:
                self._complain(where, f"the folder shows {found}, expected one of {allowed}")
            allowed = {found}

    # Kills

    def kill_at_every_call(self) -> None:
        again = self._chance.randrange(self.calls.total())
        for call, number in _every(self.calls):
            self._clear()
            traced = run_traced(self._live, *killing(call, number))
            where = f"killed at {call} {number}"
            if traced.code != -signal.SIGKILL:
                self._complain(where, f"it ended with {traced.code}: {traced.said[-300:]!r}")
                continue
            self._report.mechanisms.counts.update([KILLS, f"kills at {call}"])
            said = _said(traced)
            acked = len(said)
            if said != self._expected[:acked]:
                self._complain(where, "it went another way than undisturbed")
            allowed = {each.picture for each in self._expected[max(acked - 1, 0) : acked + 1]}
            ms = self._expected[max(acked - 1, 0)].ms
            if again == 0:
                self._kill_the_start(where, allowed, ms)
            again -= 1
            self._check(where, allowed, ms)

    def _kill_the_start(self, where: str, allowed: set[str], ms: int) -> None:
        """Start on copies of a folder with a torn tail, and kill that at each of its calls."""
        self._tear()
        torn = self._folder / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        if not self._data.is_dir():
            return
        shutil.copytree(self._data, torn)

        def start(say: Callable[[bytes], None]) -> None:
            make_deterministic(self._seed)
            say(look(self._data, ms).encode())

        _, calls = count_calls(start, self._folder / "calls")
        for call, number in _every(calls):
            self._clear()
            shutil.copytree(torn, self._data)
            traced = run_traced(start, *killing(call, number))
            if traced.code != -signal.SIGKILL:
                self._complain(where, f"the start ended with {traced.code}: {traced.said[-300:]!r}")
            self._report.mechanisms.counts[KILLS_OF_A_START] += 1
            self._check(f"{where}, and the start at {call} {number}", allowed, ms)
        self._clear()
        shutil.copytree(torn, self._data)

    def _tear(self) -> None:
        """Put garbage where the next group would go, as a torn write leaves it."""
        for path in segment_files(self._data) if self._data.is_dir() else []:
            data = bytearray(path.read_bytes())
            groups = groups_of(bytes(data))
            if not groups or groups[-1][0].kind == frame.SEAL:
                continue
            end = end_of_groups(bytes(data))
            if end < SEGMENT_BYTES - 200:
                data[end : end + 150] = self._chance.randbytes(150)
                path.write_bytes(data)
                self._report.mechanisms.counts[TORN_TAILS] += 1
                return

    # Errors

    def fail_every_call(self) -> None:
        for call, number in _every(self.calls):
            for error in ERRORS.get(call, ()):
                when = f"{number}{self._chance.choice(('', '+'))}"
                self._clear()
                where = f"{error} from {call} {when}"
                traced = run_traced(self._live, *failing(call, error, when))
                self._judge_failure(where, traced)
                # A start does without a reserve for which there is no room.
                tolerated = call in _TOLERATED or (error == "ENOSPC" and call in ("fallocate", "pwrite64"))
                if not tolerated and traced.code == 0 and not any(each.refusal for each in _said(traced)):
                    self._complain(where, "nobody was told of it")
                self._report.mechanisms.counts[ERRORS_GIVEN] += 1

    def write_short(self) -> None:
        """Let one write, at a point of chance in each step's group, come to an end early and then fail."""
        for step in range(1, self._steps + 1):
            self._clear()
            more_bytes = self._chance.randrange(1, 300)

            def limited(say: Callable[[bytes], None], step: int = step, more_bytes: int = more_bytes) -> None:
                count = 0

                def count_steps(said: Said) -> None:
                    nonlocal count
                    say(said.line())
                    count += 1
                    if count == step:
                        _limit_file_size(self._data, more_bytes)

                live(self._data, self._seed, self._steps, count_steps)

            self._judge_failure(f"a short write after step {step}", run_traced(limited, *failing("sync", "EIO", "1")))
            self._report.mechanisms.counts[SHORT_WRITES] += 1

    def _judge_failure(self, where: str, traced: Traced) -> None:
        said = _said(traced)
        if traced.code != 0 and b"! " not in traced.said:
            self._complain(where, f"it ended with {traced.code}")
        if not said:
            # The first start failed: it said why, and the folder shows nothing or an empty broker.
            self._check(where, {self._expected[0].picture}, self._expected[0].ms)
            return
        durable = said[0].picture
        allowed = {durable}
        failed = False
        for before, each in itertools.pairwise(said):
            if failed and not each.refusal and each.picture != before.picture:
                self._complain(where, f"a step was acknowledged after the log had failed: {each}")
            if failed and not each.failed:
                self._complain(where, f"the log had failed, and is ready again: {each}")
            if not each.refusal and not each.failed:
                durable, allowed = each.picture, {each.picture}
            elif each.failed and not failed:
                allowed = {durable, each.picture}
            elif not each.failed and each.picture != before.picture:
                self._complain(where, f"a step was refused and yet changed something: {each}")
            failed = failed or each.failed
        self._check(where, allowed, said[-1].ms)


def _limit_file_size(data: Path, more_bytes: int) -> None:
    """Limit the size of files and the end of writes to a number of bytes after the newest group."""
    end = max((end_of_groups(path.read_bytes()) for path in segment_files(data)[-1:]), default=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (end + more_bytes, resource.RLIM_INFINITY))


def _every(calls: Counter[str]) -> list[tuple[str, int]]:
    return [(call, number) for call in CALLS for number in range(1, calls[call] + 1)]


def _said(traced: Traced) -> list[Said]:
    return [Said.parse(line) for line in traced.said.splitlines() if not line.startswith(b"! ")]


def run(
    workloads: int, seed: int, folder: Path, *, steps: int = STEPS, say: Callable[[str], None] = lambda _: None
) -> Report:
    report = Report()
    for number in range(workloads):
        workload = Workload(seed + number, folder, report, steps=steps)
        workload.kill_at_every_call()
        workload.fail_every_call()
        workload.write_short()
        say(str(report))
        if report.problems:
            break
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.syscalls.kill_everywhere", description=__doc__)
    parser.add_argument("--workloads", type=int, default=100)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each workload")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}, {given.workloads} workloads of {given.steps} steps", flush=True)
    if reason := why_not():
        print(f"cannot trace here: {reason}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.disable()
    began_s = time.monotonic()
    # In memory if there is such a place: a kill needs no medium, and the syncs cost nothing.
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="wonderq-syscalls-", dir=base) as name:
        report = run(given.workloads, seed, Path(name), steps=given.steps, say=lambda text: print(text, flush=True))
    mechanisms, is_whole = report.mechanisms.verdict(is_slice=given.slice)
    print(f"{report}, {time.monotonic() - began_s:.0f} s\n{mechanisms}")
    print("\n".join(report.problems[:30]))
    return 1 if report.problems else 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
