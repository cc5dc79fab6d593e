"""Feed spoiled bytes to everything that reads them, and check what it promises of every input:

    python -m tests.fuzz.bytes [--inputs N] [--seed N] [--target NAME]

With atheris (pip install --group fuzz) the inputs are chosen by what code they reach, each target in a process of its own;
without it valid samples are spoiled by chance. Memory may not grow. Exit code 1 if an input was not read as promised.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.target import Target, inputs
from tests.support.mechanisms import NOT_WHOLE, Mechanisms

MAX_GROWTH_BYTES = 16 << 20
_MAX_MEMORY_MIB = 1024
_MAX_INPUT_BYTES = 1 << 16
_INSTRUMENTED = ["wonderq_storage", "wonderq"]


class BrokenPromiseError(AssertionError):
    """An input that was not read as promised."""


def all_targets() -> dict[str, Target]:
    # Here, since atheris has to prepare what these import.
    from tests.fuzz import http_targets, log_targets, nats_targets, sns_targets  # noqa: PLC0415

    return {
        target.name: target
        for module in (log_targets, http_targets, nats_targets, sns_targets)
        for target in module.targets()
    }


def _memory_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages << 12


def run(target: Target, count: int, seed: int) -> Counter[str]:
    """Check a number of random inputs; return their outcomes.

    Raises:
        BrokenPromiseError: an input was not read as promised, or memory grew.
    """
    fates: Counter[str] = Counter()
    settled = 0
    for number, data in enumerate(inputs(target, count, seed)):
        if number == count // 4:
            settled = _memory_bytes()
        try:
            fates[str(target.check(data))] += 1
        except Exception as error:
            raise BrokenPromiseError(f"{target.name}: input {data!r}\n{traceback.format_exc()}") from error
    growth = _memory_bytes() - settled
    if settled and growth > MAX_GROWTH_BYTES:
        raise BrokenPromiseError(f"{target.name}: memory grew by {growth:,} bytes")
    return fates


def _search(name: str, count: int, seed: int, folder: str) -> None:
    """Let atheris choose inputs, in this process, which it ends."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=_INSTRUMENTED):
        target = all_targets()[name]
    seeds = Path(folder) / "corpus"
    seeds.mkdir()
    for number, sample in enumerate(target.samples):
        (seeds / str(number)).write_bytes(sample)
    options = {
        "runs": count,
        "seed": seed % (1 << 32) or 1,  # 0 is by chance
        "max_len": _MAX_INPUT_BYTES,
        "rss_limit_mb": _MAX_MEMORY_MIB,
        "timeout": 60,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *arguments, str(seeds)], check)
    atheris.Fuzz()


def _search_apart(name: str, count: int, seed: int) -> bool:
    """Run `_search` in a process of its own; tells whether all was as promised."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.bytes",
            "--target",
            name,
            "--inputs",
            str(count),
            "--seed",
            str(seed),
        ]
        done = subprocess.run([*command, "--search-in", folder], capture_output=True, text=True, check=False)
        for found in Path(folder).glob("*-*"):
            print(f"{name}: input {found.read_bytes()!r}")
    statistics = dict(re.findall(r"^stat::(\w+): *(\d+)$", done.stderr, re.MULTILINE))
    if (
        done.returncode or int(statistics.get("number_of_executed_units", 0)) < count
    ):  # all samples run, if they are more
        print(f"BROKEN PROMISE: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return False
    print(f"{name}: {statistics['new_units_added']} kept for what they reach, at most {statistics['peak_rss_mb']} MiB")
    return True


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.bytes", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target; of a slow one fewer")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--by-chance", action="store_true", help="without atheris, even if it is there")
    parser.add_argument("--search-in", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.search_in:
        _search(arguments.target, arguments.inputs, arguments.seed, arguments.search_in)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    by_chance = arguments.by_chance or importlib.util.find_spec("atheris") is None
    print(f"seed {arguments.seed}, {'by chance' if by_chance else 'with atheris'}", flush=True)
    broken = 0
    mechanisms = Mechanisms(all_targets())
    for name, target in all_targets().items():
        if name != (arguments.target or name):
            continue
        count = max(1, arguments.inputs // target.cost)
        began = time.monotonic()
        if by_chance:
            try:
                fates = run(target, count, arguments.seed)
                print(f"{name}: {dict(fates)}")
                mechanisms.counts[name] += fates["read"]  # what is refused at once exercises little
            except BrokenPromiseError as error:
                print(f"BROKEN PROMISE: {error}")
                broken += 1
        else:
            kept = _search_apart(name, count, arguments.seed)
            broken += not kept
            mechanisms.counts[name] += kept
        print(f"{name}: {count:,} inputs, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{broken} targets broke a promise")
    verdict, is_whole = mechanisms.verdict(is_slice=arguments.target is not None)
    print(verdict)
    return 1 if broken else 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
