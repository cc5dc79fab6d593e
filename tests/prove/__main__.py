"""Run all long proofs on this version, and write one report:

    python -m tests.prove [--reports FOLDER] [--seed N] [--scale 1] [--only NAME] [--minutes N] [--at-once N]
        [--page docs/RELIABILITY.md]

The report is FOLDER/COMMIT.json; the whole output of each part is beside it. If it is there already, the run goes on with the
parts that are missing. A part that failed is run again. The tree must have no uncommitted changes outside the documentation.
Exit code 1 if a part broke a promise, 4 if `--minutes` were over before the last part.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice, takewhile
from pathlib import Path

from tests.prove.plan import PROOFS, Part, parts_of
from tests.prove.report import Outcome, Report, passes, put_table, table

ROOT = Path(__file__).parents[2]

#: Lines of an output that the report keeps.
KEPT_LINES = 12

#: A report may be continued on a later commit if nothing but these differs.
DOCUMENTATION = (":(exclude)docs", ":(exclude)*.md")

UNFINISHED = 4


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def version() -> str:
    """Return the newest commit that changed more than the documentation.

    Raises SystemExit if the tree has uncommitted changes, as a report has to say what it is of.
    """
    if _git("status", "--porcelain", "--", ".", *DOCUMENTATION):
        raise SystemExit("Commit your changes first: the report names the commit that it is of.")
    return _git("log", "-1", "--format=%H", "--", ".", *DOCUMENTATION)


def machine() -> str:
    """Describe this machine in a line."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


class Running:
    """A part that runs, as a process of its own."""

    def __init__(self, part: Part, log: Path) -> None:
        """Start it. Its output goes into the file ``log``."""
        self._part = part
        self._log = log
        self._began_s = time.monotonic()
        with log.open("wb") as output:
            command = [sys.executable, "-m", *part.arguments]
            self._child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def end(self) -> None:
        """End it before its time."""
        self._child.terminate()  # so that it ends its own processes and mounts
        self._child.wait()

    def outcome(self) -> Outcome:
        """Wait for its end, and return how it ended."""
        part, exit_code = self._part, self._child.wait()
        return Outcome(
            part=part.name,
            proof=part.proof.name,
            method=part.proof.method,
            unit=part.proof.unit,
            amount=part.amount,
            seed=part.seed,
            command=f"python -m {' '.join(part.arguments)}",
            exit_code=exit_code,
            took_s=round(time.monotonic() - self._began_s, 1),
            ended=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            last_lines=self._log.read_text(errors="replace").splitlines()[-KEPT_LINES:],
        )


def run_parts(parts: Iterable[tuple[Part, Path]], at_once: int) -> Generator[Outcome]:
    """Run parts, some of them side by side, and yield their outcomes as they end. Each has a file for its output."""
    waiting = iter(parts)
    running: dict[Future[Outcome], Running] = {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while True:
                for part, log in islice(waiting, at_once - len(running)):
                    print(f"{part.name}: python -m {' '.join(part.arguments)}", flush=True)
                    begun = Running(part, log)
                    running[pool.submit(begun.outcome)] = begun
                if not running:
                    return
                for each in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[each]
                    yield each.result()
        finally:
            for left in running.values():
                left.end()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("--reports", type=Path, default=ROOT / "reports")
    parser.add_argument("--seed", type=int, help="of the first part of each proof; by default, that of the report")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the amounts that a release needs")
    parser.add_argument("--only", action="append", choices=[proof.name for proof in PROOFS])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after so long")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="run so many parts side by side")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    given = parser.parse_args(arguments)
    if given.scale <= 0 or given.at_once < 1:
        parser.error("--scale must be above 0, and --at-once at least 1")
    commit = version()
    folder: Path = given.reports
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{commit}.json"
    if path.exists():
        report = Report.read(path)
    else:
        report = Report(commit, machine(), given.scale, given.seed or int(dt.date.today().strftime("%Y%m%d")))
    if (given.scale, given.seed or report.seed) != (report.scale, report.seed):
        parser.error(
            f"{path} is of scale {report.scale} and seed {report.seed}; go on with these, or give another folder"
        )
    report.write(path)  # the parts of one proof have to go on with its seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    until_s = time.monotonic() + 60 * given.minutes
    parts = [
        part
        for proof in PROOFS
        if not given.only or proof.name in given.only
        for part in parts_of(proof, report.seed, report.scale)
    ]
    missing = [part for part in parts if (old := report.outcome_of(part.name)) is None or not passes([old])]
    in_time = takewhile(lambda _: time.monotonic() <= until_s, missing)
    logged = ((part, folder / f"{commit[:12]}-{part.name}.log") for part in in_time)
    done = 0
    with closing(run_parts(logged, given.at_once)) as outcomes:
        for outcome in outcomes:
            done += 1
            _put(report, outcome, [proof.name for proof in PROOFS])
            report.write(path)
            print(f"  {outcome.part}: exit code {outcome.exit_code}, {outcome.took_s:,.0f} s", flush=True)
    if done < len(missing):
        print(f"{missing[done].name} and later parts are left: run the command again", flush=True)
        return UNFINISHED
    text = table(report)
    print(text)
    if given.page is not None:
        put_table(given.page, text)
    return 0 if passes(report.outcomes) else 1


def _put(report: Report, outcome: Outcome, order: Sequence[str]) -> None:
    """Add an outcome in place of the same part's older one, and keep the parts in the order of the plan."""
    report.outcomes = sorted(
        [*(each for each in report.outcomes if each.part != outcome.part), outcome],
        key=lambda each: (order.index(each.proof), int(each.part.rpartition("-")[2])),
    )


if __name__ == "__main__":
    sys.exit(main())
