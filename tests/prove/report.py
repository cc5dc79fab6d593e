"""The report of a run of all proofs: a JSON file that grows with each part, and the table of docs/RELIABILITY.md made of it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

BEGIN, END = "<!-- results of make prove: begin -->", "<!-- results of make prove: end -->"

#: Exit code of a program that broke no promise and did not exercise everything that it is for (`tests.support.mechanisms`).
NOT_WHOLE = 3

_COUNT = re.compile(r"([a-z][^,]*?) (\d{1,3}(?:,\d{3})+|\d+)(?=,|$)")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one part."""

    part: str
    proof: str
    method: str
    unit: str
    amount: int
    seed: int
    command: str
    exit_code: int
    took_s: float
    ended: str  # UTC, ISO 8601
    last_lines: list[str]

    @property
    def mechanisms(self) -> Counter[str]:
        """Runs of each mechanism, as the program reports them; empty if it reports none."""
        counts: Counter[str] = Counter()
        for line in self.last_lines:
            if line.startswith("mechanisms: "):
                for name, count in _COUNT.findall(line.removeprefix("mechanisms: ")):
                    counts[name] += int(count.replace(",", ""))
        return counts


@dataclass
class Report:
    """The runs on one version, and how they ended."""

    commit: str
    machine: str
    scale: float
    seed: int  # of the first part of each proof
    outcomes: list[Outcome] = field(default_factory=list)

    def outcome_of(self, part: str) -> Outcome | None:
        """Return how a part ended, or None if it was not run to its end."""
        return next((each for each in self.outcomes if each.part == part), None)

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a killed run leaves a whole one."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(new, path)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a report."""
        values = json.loads(path.read_text())
        return cls(**{**values, "outcomes": [Outcome(**each) for each in values["outcomes"]]})


def idle_mechanisms(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the mechanisms that some part was for, and no part exercised."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.mechanisms)  # keeps those of zero
    return sorted(name for name, count in counts.items() if not count)


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Say in a few words what the parts of one proof found."""
    broken = [each.part for each in outcomes if each.exit_code not in (0, NOT_WHOLE)]
    if broken:
        return f"**failed: {', '.join(broken)}**"
    idle = idle_mechanisms(outcomes)
    if any(each.exit_code == NOT_WHOLE and not each.mechanisms for each in outcomes):
        return "no violation; not every mechanism ran"
    return f"no violation; never ran: {', '.join(idle)}" if idle else "no violation"


def passes(outcomes: Sequence[Outcome]) -> bool:
    """Whether no part broke a promise."""
    return all(each.exit_code in (0, NOT_WHOLE) for each in outcomes)


def table(report: Report) -> str:
    """Return the table as Markdown, a row a proof in the order of the run."""
    rows = ["| method | run | time | result |", "|---|---|---|---|"]
    for _, group in groupby(report.outcomes, key=lambda each: each.proof):
        outcomes = list(group)
        first = outcomes[0]
        seeds = (
            f"seed {first.seed}" if first.seed == outcomes[-1].seed else f"seeds {first.seed} to {outcomes[-1].seed}"
        )
        command = f"`{first.command}`" + (f" and {len(outcomes) - 1} more" if len(outcomes) > 1 else "")
        amount = sum(each.amount for each in outcomes)
        took_s = sum(each.took_s for each in outcomes)
        rows.append(
            f"| {first.method} | {amount:,} {first.unit}, {seeds}: {command} | {took_s:,.0f} s | {verdict(outcomes)} |"
        )
    return "\n".join([f"Version {report.commit}, on {report.machine}.", "", *rows])


def put_table(page: Path, text: str) -> None:
    """Replace what stands between the two marks of a page.

    Raises ValueError if the page lacks one of them.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the line {BEGIN} or the line {END}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
