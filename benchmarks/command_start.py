"""Measure the processor time of short commands: `python -m benchmarks.command_start`.

Prints the least user and system time of ROUNDS runs of each, in ms. Beside them: an interpreter that does nothing, and
one that loads the whole command line. `send` calls an address where nobody listens, so it loads what a client needs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

COMMANDS = {
    "python": ["-c", "pass"],
    "all commands loaded": ["-c", "from wonderq.cli.main import build_parser; build_parser()"],
    "wonderq --version": ["-m", "wonderq", "--version"],
    "wonderq --help": ["-m", "wonderq", "--help"],
    "wonderq send": ["-m", "wonderq", "send", "--url", "http://127.0.0.1:1", "x"],
    "wonderq queue list": ["-m", "wonderq", "queue", "list", "--url", "http://127.0.0.1:1"],
}


def processor_ms(arguments: list[str]) -> float:
    """Run Python with arguments, and return its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> None:
    """Measure, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    least = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            least[name] = min(least[name], processor_ms(arguments))
    for name, ms in least.items():
        print(f"{name:22}{ms:6.0f} ms")


if __name__ == "__main__":
    main()
