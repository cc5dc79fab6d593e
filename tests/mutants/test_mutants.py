"""The catalogue fits the code, and a few of its bugs, chosen by chance, are caught. `python -m tests.mutants.run` has all."""

from __future__ import annotations

import ast
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.run import End, copy_of_the_tree, end_processes_of, run_mutant
from tests.support.needs import needs_path
from tests.support.waiting import PATIENCE_S

SAMPLE = 2

QUICK = [mutant for mutant in MUTANTS if not mutant.hangs]


@lru_cache(100)
def _dump(source: str) -> str:
    return ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_bug_can_be_planted(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    planted = mutant.planted(source)
    assert ast.dump(ast.parse(planted)) != _dump(source)
    assert mutant.name.isidentifier()
    assert mutant.harm.endswith(".")


def test_there_are_many_and_each_has_its_own_name() -> None:
    assert len(MUTANTS) >= 30
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def test_each_bug_names_tests_that_are_there() -> None:
    functions: dict[str, set[str]] = {}
    for mutant in MUTANTS:
        assert mutant.tests, mutant.name
        for test in mutant.tests:
            file, *names = test.split("[")[0].split("::")
            if file not in functions:
                path = ROOT / file
                assert path.is_file(), f"{mutant.name}: there is no {file}"
                tree = ast.parse(path.read_text())
                functions[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            if names and names[0].startswith("test_"):
                assert names[0] in functions[file], f"{mutant.name}: there is no {test}"


def test_source_that_is_not_there_is_said_to_be_missing() -> None:
    mutant = MUTANTS[0]._replace(old="this stands nowhere", new="")
    with pytest.raises(ValueError, match=f"mutant {mutant.name}: this stands 0 times in {mutant.file}"):
        mutant.planted((ROOT / mutant.file).read_text())


@pytest.mark.slow
def test_a_few_are_caught() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    with copy_of_the_tree() as tree:
        for mutant in random.Random(seed).sample(QUICK, SAMPLE):
            outcome = run_mutant(tree, mutant)
            assert outcome.catches(mutant), f"{mutant.name}: {outcome}: {mutant.harm}"


@needs_path("/proc/self/cmdline")
def test_what_tests_have_started_is_ended_with_them(tmp_path: Path) -> None:
    wait = [sys.executable, "-c", "import time; time.sleep(1000)"]
    inside, outside = tmp_path / "of-the-bug", tmp_path / "of-the-bugs"
    started = [subprocess.Popen([*wait, str(each / "nats.conf")], start_new_session=True) for each in (inside, outside)]
    try:
        end_processes_of(inside)
        assert started[0].wait(PATIENCE_S) == -signal.SIGKILL
        assert started[1].poll() is None, "it is of another folder"
    finally:
        for each in started:
            each.kill()
            each.wait()


@pytest.mark.slow
def test_what_is_no_bug_is_not_caught() -> None:
    """A runner that calls everything caught would be of no use."""
    harmless = MUTANTS[0]._replace(new=MUTANTS[0].old, tests=("tests/broker/test_ids.py",))
    with copy_of_the_tree() as tree:
        assert run_mutant(tree, harmless).end is End.PASSED
        assert run_mutant(tree, harmless._replace(tests=("tests/broker/no_such_file.py",))).end is End.BROKEN
