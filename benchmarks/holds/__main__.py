"""Measure all situations and print a line for each step: `python -m benchmarks.holds [--scale F] [--only TEXT]`.

A hold is what keeps others waiting: a turn of the serving thread, or a hold of the broker's lock. Both are in CPU time,
so that other programs on the machine do not count. ``gap`` is the longest time to an answer for `/healthz`, which a
client asks for at each ms: it includes waits for locks and for the disk. ``hold`` is the longest of the three. Of the
gap, only the part counts that an idle broker does not have and that other programs do not explain. ``gc`` is the
longest garbage collection.

Each step has a bound: 20 ms for ordinary requests, 50 ms for hostile ones. The exit status is 1 if a step is above it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.holds.folders import make
from benchmarks.holds.measured import Hold, running
from benchmarks.holds.situations import AT_REST, Situation, all_situations, nothing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.holds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all sizes (default %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="run only situations with this text in their names")
    parser.add_argument("--list", action="store_true", help="print the names of all situations")
    chosen = parser.parse_args()
    situations = [each for each in all_situations(chosen.scale) if chosen.only in each.name]
    if chosen.list:
        print("\n".join(each.name for each in situations))
        return 0
    if not situations:
        parser.error(f"no situation has {chosen.only!r} in its name; --list prints all names")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, which stops the broker
    noise_ms = measure_noise()
    print(f"an idle broker: the longest gap is {noise_ms:.1f} ms")
    print(f"{'ms:':>60}{'hold':>9}{'bound':>7}{'gap':>9}{'turn':>9}{'lock':>9}{'gc':>9}")
    is_within = [measure(each, noise_ms) for each in situations]
    return 0 if all(is_within) else 1


def measure_noise() -> float:
    """Return the longest gap of an idle broker, which the machine causes."""
    with tempfile.TemporaryDirectory(prefix="wonderq-holds-") as name, running(Path(name) / "data") as broker:
        with broker.measuring() as held:
            AT_REST.run(broker)
        return held[0].gap_ms


def measure(situation: Situation, noise_ms: float) -> bool:
    """Measure and print the steps of a situation; return whether all are within their bounds."""
    is_within = True
    with tempfile.TemporaryDirectory(prefix="wonderq-holds-") as name:
        folder = Path(name) / "data"
        if situation.fill is not nothing:
            make(folder, situation.fill, segment_bytes=situation.segment_bytes)
        print(f"\n{situation.name}", flush=True)
        with running(folder, *situation.options) as broker:
            for step in situation.steps:
                with broker.measuring() as held:
                    outcome = step.run(broker)
                hold_ms = held[0].longest_ms(noise_ms)
                print(line(step.name, outcome, hold_ms, step.bound_ms, held[0]), flush=True)
                is_within &= hold_ms <= step.bound_ms
    return is_within


def line(name: str, outcome: str, hold_ms: float, bound_ms: float, held: Hold) -> str:
    """Return the line of one step. A step above its bound also has the place where its time was spent."""
    figures = (held.gap_ms, held.turn_ms, held.lock_ms, held.collection_ms)
    text = f"  {name[:57]:57} {hold_ms:9.1f}{bound_ms:7.0f}{''.join(f'{each:9.1f}' for each in figures)}  {outcome}"
    return f"{text}\n    above the bound: {held.place or 'not seen'}" if hold_ms > bound_ms else text


if __name__ == "__main__":
    sys.exit(main())
