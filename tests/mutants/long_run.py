"""Plant bugs of the catalogue one by one in a copy of the tree, and run a long check there that has to report each."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.run import copy_of_the_tree

#: Exit code of a check that reports a broken promise.
REPORTED = 1


def see_each_reported(checks: Mapping[str, Sequence[str]]) -> int:
    """Plant each bug, and run its check, which is the words after ``python -m``; return 1 if any bug survives."""
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    survived = []
    with copy_of_the_tree() as tree:
        for name, check in checks.items():
            mutant, began_s = by_name[name], time.monotonic()
            path = tree / mutant.file
            source = path.read_text()
            path.write_text(mutant.planted(source))
            try:
                code, line = _run(tree, check)
            finally:
                path.write_text(source)
            caught = code == REPORTED
            survived += [] if caught else [name]
            took_s = time.monotonic() - began_s
            print(f"{took_s:6.1f} s  {'caught' if caught else 'SURVIVED':8}  {name:44} {line}", flush=True)
    print(f"{len(checks)} bugs, {len(survived)} survived")
    return 1 if survived else 0


def _run(tree: Path, check: Sequence[str]) -> tuple[int, str]:
    """Run a check in a tree; return the exit code, and the first violation or the last line."""
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", *check],
        cwd=tree,
        env={
            **os.environ,
            "TMPDIR": str(tree.parent),
            "TESTS_PATIENCE_S": "60",  # a bug may make a call wait for ever
            "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "storage"))),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    lines = output.splitlines()
    told = [line for line in lines if line.startswith("[")]
    told += [after for before, after in itertools.pairwise(lines) if before.startswith("mechanisms: ")]
    told += [line for line in lines if line.startswith("the run cannot go on")]
    return process.returncode, (told or lines[-1:] or [""])[0][:160]
