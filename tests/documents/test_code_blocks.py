"""Code on the pages of tutorials and guides is valid, and a file that a page asks for is the one that the test writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.support.document_blocks import ROOT

PAGES = sorted(each for name in ("explanation", "how-to", "tutorials") for each in (ROOT / "docs" / name).glob("*.md"))

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKED = re.compile(r"Write `([\w.]+\.py)`:\n\n(?:<!-- test: write ([\w.]+) -->)?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_python_on_a_page_is_valid(page: Path) -> None:
    for block in _PYTHON.findall(page.read_text(encoding="utf-8")):
        ast.parse(block)


def test_each_file_that_a_page_asks_for_is_written() -> None:
    asked = [(page.name, *names) for page in PAGES for names in _ASKED.findall(page.read_text(encoding="utf-8"))]
    assert len(asked) > 5
    assert [each for each in asked if each[1] != each[2]] == []


def test_the_forms_for_issues_have_the_required_parts() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) > 2
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.name == "config.yml":
            continue
        assert {"name", "description", "body"} <= content.keys(), form.name
        inputs = [each for each in content["body"] if each["type"] != "markdown"]
        assert len({each["id"] for each in inputs}) == len(inputs) > 0, form.name
        assert all(each["attributes"]["label"] for each in inputs), form.name
