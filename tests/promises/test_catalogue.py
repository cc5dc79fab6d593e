"""The scenarios quote docs/SEMANTICS.md, and know nothing of the broker but its documentation."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest

from tests.promises.catalogue import SCENARIOS
from tests.promises.run import Plan, Run
from tests.promises.scenario import Scenario

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "SEMANTICS.md"

#: Helpers that start and stop a process, and import nothing of the product.
SUPPORT = {"tests.support.broker_process", "tests.support.waiting"}


def words(text: str) -> str:
    """Return a text in one line, without the marks of emphasis and links."""
    return " ".join(text.replace("**", "").split())


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda each: each.name)
def test_each_quoted_sentence_stands_in_the_page(scenario: Scenario) -> None:
    page = words(PAGE.read_text())
    assert scenario.promises
    assert [sentence for sentence in scenario.promises if sentence not in page] == []


def test_each_file_of_a_scenario_is_in_the_catalogue() -> None:
    files = {path.stem for path in (HERE / "scenarios").glob("*.py")} - {"__init__"}
    assert files == SCENARIOS.keys()


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_it_shares_no_code_with_the_product_or_the_first_checker() -> None:
    ours = {name for path in HERE.rglob("*.py") for name in imports_of(path) if name.partition(".")[0] in (
        "tests", "wonderq", "wonderq_storage"
    )}  # fmt: skip
    assert {name for name in ours if not name.startswith("tests.promises")} == SUPPORT
    for module in SUPPORT:
        path = HERE.parents[1] / Path(*module.split(".")).with_suffix(".py")
        assert {name for name in imports_of(path) if name.startswith(("tests", "wonderq"))} <= SUPPORT


def test_all_scenarios_run_before_one_runs_again(tmp_path: Path) -> None:
    run, rng = Run(Plan(seed=1), tmp_path), random.Random(1)
    number = -(-len(SCENARIOS) // run.plan.together)
    chosen = [name for _ in range(number) for name in run._chosen(rng)]
    assert set(chosen) == SCENARIOS.keys()


def test_a_judge_that_saw_nothing_is_named(tmp_path: Path) -> None:
    run = Run(Plan(seed=1, only=["fifo_order"]), tmp_path)
    assert run.unseen()[-1].startswith("fifo order: ")
    run.verdicts["fifo_order"].saw(SCENARIOS["fifo_order"].required[0])
    assert [name for name in run.unseen() if name.startswith("fifo order")] == []
