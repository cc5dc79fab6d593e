"""Plant each bug of the catalogue in a copy of the tree, and see that the tests it names notice:

    python -m tests.mutants.run [--only NAME ...] [--sample N --seed N] [--all-tests]

Exit code 1 if any bug survives, or if the named tests do not pass without one.
"""

from __future__ import annotations

import argparse
import enum
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.support.parts import part

#: The tests that are named take a second or two, and more on a busy machine.
TIMEOUT_S = 180

#: Longest wait of a test for something that a planted bug may prevent.
PATIENCE_S = 20

#: For a bug that is known to make somebody wait for ever.
HANG_S = 10

#: For ``--all-tests``.
ALL_TESTS_TIMEOUT_S = 900

#: For ``--all-tests``: what a bug in these modules should not get past.
ALL_TESTS = ("tests/storage", "tests/broker")

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "dist")


class End(enum.Enum):
    """Outcome of a run of some tests."""

    PASSED = "no test failed"
    FAILED = "a test failed"
    HUNG = "the tests did not end"
    BROKEN = "the tests could not be run"


class Outcome(NamedTuple):
    """A run of some tests."""

    end: End
    detail: str
    """The first test that failed; or what the run printed last, if the tests could not be run."""
    seconds: float

    def catches(self, mutant: Mutant) -> bool:
        """Return whether the bug was noticed. A timeout does not count, unless the bug makes a call wait for ever."""
        return self.end is End.FAILED or (self.end is End.HUNG and mutant.hangs)

    def __str__(self) -> str:
        return self.detail if self.end is End.FAILED else f"({self.end.value}) {self.detail}"


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wonderq-mutants-") as temporary:
        tree = Path(temporary) / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        yield tree


def run_tests(tree: Path, tests: Iterable[str], timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run tests of a tree up to the first that fails."""
    began = time.monotonic()
    # No bytecode: a file that is changed twice within a second to the same length would be taken for unchanged.
    command = [sys.executable, "-B", "-m", "pytest", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-m", ""]
    process = subprocess.Popen(
        [*command, f"--basetemp={tree.parent / 'temporary'}", *tests],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "storage"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TESTS_PATIENCE_S": str(PATIENCE_S),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Outcome(End.HUNG, "", time.monotonic() - began)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            end_processes_of(tree.parent)
    took_s = time.monotonic() - began
    if process.returncode == 0:
        return Outcome(End.PASSED, "", took_s)
    lines = output.splitlines()
    failed = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if process.returncode == 1 and failed:
        return Outcome(End.FAILED, failed[0], took_s)
    return Outcome(End.BROKEN, "\n".join(lines[-20:]), took_s)


def end_processes_of(folder: Path) -> None:
    """Kill the processes whose command names a path in a folder, on Linux.

    A NATS server has a session of its own, so it outlives tests that are killed.
    """
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if os.fsencode(folder) + b"/" in each.read_bytes():
                os.kill(int(each.parent.name), signal.SIGKILL)


def run_mutant(tree: Path, mutant: Mutant, tests: Sequence[str] = ()) -> Outcome:
    """Plant a bug in the tree, run its tests or the given ones, and put the tree right again."""
    path = tree / mutant.file
    source = path.read_text()
    path.write_text(mutant.planted(source))
    timeout_s = ALL_TESTS_TIMEOUT_S if tests else HANG_S if mutant.hangs else TIMEOUT_S
    try:
        return run_tests(tree, tests or mutant.tests, timeout_s)
    finally:
        path.write_text(source)


def chosen(arguments: argparse.Namespace) -> list[Mutant]:
    mutants = MUTANTS
    if arguments.only:
        by_name = {mutant.name: mutant for mutant in MUTANTS}
        mutants = [by_name[name] for name in arguments.only]
    if arguments.sample:
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    number, parts = arguments.part
    return mutants[number - 1 :: parts]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", choices=[mutant.name for mutant in MUTANTS])
    parser.add_argument("--sample", type=int, metavar="N", help="run only N bugs, chosen at random")
    parser.add_argument(
        "--part", type=part, default=(1, 1), metavar="N/PARTS", help="run every PARTSth bug from the Nth"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--all-tests", action="store_true", help=f"run all of {' and '.join(ALL_TESTS)} for each")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {arguments.seed}", flush=True)
    mutants = chosen(arguments)
    tests = ALL_TESTS if arguments.all_tests else ()
    began = time.monotonic()
    survived = []
    with copy_of_the_tree() as tree:
        without = run_tests(tree, tests or sorted({test for mutant in mutants for test in mutant.tests}), 1800)
        print(f"{without.seconds:6.1f} s  the tests without any bug", flush=True)
        if without.end is not End.PASSED:
            print(f"they do not pass: {without}")
            return 1
        for mutant in mutants:
            outcome = run_mutant(tree, mutant, tests)
            caught = outcome.catches(mutant)
            print(
                f"{outcome.seconds:6.1f} s  {'caught' if caught else 'SURVIVED':8}  {mutant.name:46} {outcome}",
                flush=True,
            )
            if not caught:
                survived.append(mutant)
    for mutant in survived:
        print(f"\n{mutant.name} survived: {mutant.harm}\n  {mutant.file}, instead of\n{mutant.old}")
    took_s = time.monotonic() - began
    print(f"{len(mutants)} bugs, {len(mutants) - len(survived)} caught, {len(survived)} survived, {took_s:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
