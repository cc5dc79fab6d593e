"""README and the pages of docs/ agree with the program, where a test can tell."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wonderq.openapi.cluster_operations import CLUSTER
from wonderq.openapi.operation import Operation
from wonderq.openapi.operations import OPERATIONS

ROOT = Path(__file__).parents[1]

#: Options of curl that every release since 2020 has.
CURL_OPTIONS = {"-H", "-d", "-X"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_examples_work_with_a_curl_of_2020() -> None:
    commands = re.findall(r"\$ curl (.*)", read("docs/tutorials/two-minutes.md") + read("docs/API.md"))
    assert len(commands) > 5
    for command in commands:
        assert set(re.findall(r"(?<= )-[-\w]+", f" {command}")) <= CURL_OPTIONS, command


def test_deletes_and_renewals_in_the_first_tutorial_use_receipts() -> None:
    commands = re.findall(r"curl -X (?:DELETE|UPDATE) (.*)", read("docs/tutorials/two-minutes.md"))
    assert len(commands) >= 2
    assert all("receipt=" in each for each in commands)


def test_each_extra_that_a_text_names_exists_and_each_one_has_a_row_in_the_table() -> None:
    extras = set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])
    named = {
        name
        for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "wonderq", "**/*.py"))
        for path in folder.glob(pattern)
        for words in re.findall(r"wonderq\[([\w,-]+)\]", path.read_text(encoding="utf-8"))
        for name in words.split(",")
    }
    assert named <= extras
    assert {*re.findall(r"^\| `(\w+)` \|", read("docs/INSTALL.md").partition("## Names")[0], re.MULTILINE)} == extras


@pytest.mark.parametrize("operation", [*OPERATIONS, *CLUSTER], ids=lambda each: each.id)
def test_the_api_documentation_has_each_call(operation: Operation) -> None:
    method, path = operation.method, operation.path
    plain = re.escape(path.removeprefix("/queues/{queue}") if "/messages" in path or "/dev" in path else path)
    pattern = re.sub(r"\\\{\w+\\\}", r"(?:\\{\\w+\\}|[A-Z]+)", plain)
    text = read("docs/API.md")
    between = r"[^|]*?" if operation.tag == "Documentation" else r"[^\n|]*?"  # a sentence lists those that need no key
    assert re.search(rf"`?{method}`?{between}{pattern}(?![\w/{{-])", text), f"docs/API.md does not have {method} {path}"
