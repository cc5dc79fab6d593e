"""The findings of axe-core in a page. `make browser` installs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Any) -> list[str]:
    """Return what axe-core finds. Playwright runs scripts apart from the page, whose policy would refuse axe's."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("rules => axe.run(document, {runOnly: rules})", _RULES)
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in report["violations"]]


def check_accessibility(page: Any) -> None:
    """Check a page; without axe-core, skip the test."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed, so accessibility was not checked: make browser")
    assert violations(page) == []
