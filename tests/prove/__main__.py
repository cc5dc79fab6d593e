"""Run all long proofs on this version, and write one report:

    python -m tests.prove [--reports FOLDER] [--seed N] [--scale 1] [--only NAME] [--minutes N] [--page docs/RELIABILITY.md]

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
from collections.abc import Sequence
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


def run_part(part: Part, log: Path) -> Outcome:
    """Run a part to its end. Its output goes into a file."""
    command = [sys.executable, "-m", *part.arguments]
    began_s = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            exit_code = child.wait()
        except BaseException:
            child.terminate()  # so that it ends its own processes and mounts
            child.wait()
            raise
    return Outcome(
        part=part.name,
        proof=part.proof.name,
        method=part.proof.method,
        unit=part.proof.unit,
        amount=part.amount,
        seed=part.seed,
        command=f"python -m {' '.join(part.arguments)}",
        exit_code=exit_code,
        took_s=round(time.monotonic() - began_s, 1),
        ended=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        last_lines=log.read_text(errors="replace").splitlines()[-KEPT_LINES:],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("--reports", type=Path, default=ROOT / "reports")
    parser.add_argument("--seed", type=int, default=int(dt.date.today().strftime("%Y%m%d")))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the amounts that a release needs")
    parser.add_argument("--only", action="append", choices=[proof.name for proof in PROOFS])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after so long")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    given = parser.parse_args(arguments)
    if given.scale <= 0:
        parser.error("--scale must be above 0")
    commit = version()
    folder: Path = given.reports
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{commit}.json"
    report = Report.read(path) if path.exists() else Report(commit, machine(), given.scale)
    if report.scale != given.scale:
        parser.error(f"{path} is of scale {report.scale}; go on with that, or give another folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    until_s = time.monotonic() + 60 * given.minutes
    parts = [
        part
        for proof in PROOFS
        if not given.only or proof.name in given.only
        for part in parts_of(proof, given.seed, given.scale)
    ]
    for part in parts:
        old = report.outcome_of(part.name)
        if old is not None and passes([old]):
            continue
        if time.monotonic() > until_s:
            print(f"{part.name} and later parts are left: run the command again", flush=True)
            return UNFINISHED
        print(f"{part.name}: python -m {' '.join(part.arguments)}", flush=True)
        outcome = run_part(part, folder / f"{commit[:12]}-{part.name}.log")
        _put(report, outcome, [proof.name for proof in PROOFS])
        report.write(path)
        print(f"  exit code {outcome.exit_code}, {outcome.took_s:,.0f} s", flush=True)
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
