"""Compare this checkout with another one: `python -m benchmarks.against TREE [--rounds R] [--only NAME]`.

The brokers of both trees run at the same time. Each load of `benchmarks.whole` runs on both, in alternating order.
Each line shows two ratios, this tree's figure divided by the other's: requests per second, and CPU time of the broker
per request. Both are medians over the rounds. On a busy machine the second ratio is more reliable.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import load
from benchmarks.servers import RunningServer, broker, running
from benchmarks.whole import CASES, Case


class Ratios(NamedTuple):
    """Figures of this tree divided by those of the other, in one round."""

    rate: float
    cpu: float


def compare(case: Case, ours: RunningServer, other: RunningServer, rounds: int) -> list[Ratios]:
    found = []
    for number in range(rounds):
        rates, cpu_s = {}, {}
        for server in (ours, other) if number % 2 else (other, ours):
            case.fill(server.url)
            before_s = server.cpu_s()
            rates[server.url] = load.run(server.url, case.scripts(), requests=case.requests).rate
            cpu_s[server.url] = server.cpu_s() - before_s
        found.append(Ratios(rates[ours.url] / rates[other.url], cpu_s[ours.url] / cpu_s[other.url]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("tree", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the loads with this text in their names")
    chosen = parser.parse_args()
    print(f"{'':30}{'rate':>8}{'lowest':>8}{'highest':>9}{'cpu':>8}{'lowest':>8}{'highest':>9}")
    for case in CASES:
        if chosen.only in case.name:
            with tempfile.TemporaryDirectory(prefix="wonderq-against-") as name:
                folder, tree = Path(name), chosen.tree.resolve()
                with (
                    running(*broker(folder / "ours")) as ours,
                    running(*broker(folder / "other"), tree=tree) as other,
                ):
                    columns = zip(*compare(case, ours, other, chosen.rounds), strict=True)
            figures = [f"{median(each):8.1%}{min(each):8.1%}{max(each):9.1%}" for each in columns]
            print(f"{case.name:30}{''.join(figures)}", flush=True)


if __name__ == "__main__":
    main()
