"""Suites stand by themselves: each imports the product, `tests.support` and its own modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORT = "support"


def suite_of(module: str) -> str | None:
    """Return the name of the suite that a module belongs to, or None for a module outside the tests."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "tests" else None


def imports_of(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of every import in a file."""
    package = ".".join(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*above, node.module]))
            for name in node.names:
                yield node.lineno, f"{module}.{name.name}"


def crossings(root: Path) -> list[str]:
    """Return the imports by which one suite depends on another, or the shared helpers on a suite."""
    found = []
    for path in sorted((root / "tests").rglob("*.py")):
        inside = path.relative_to(root / "tests")
        mine = inside.parts[0] if len(inside.parts) > 1 else ""
        for line, name in imports_of(path, root):
            theirs = suite_of(name)
            if theirs is not None and theirs not in (mine, SUPPORT):
                found.append(f"{path.relative_to(root)}:{line} imports {name}")
    return found


def test_no_suite_imports_from_another() -> None:
    assert crossings(ROOT) == []


def test_the_product_imports_no_test() -> None:
    files = [*(ROOT / "wonderq").rglob("*.py"), *(ROOT / "storage").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    assert [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        if "tests" in path.read_text()  # to parse all of them takes a second
        for line, name in imports_of(path, ROOT)
        if name.partition(".")[0] == "tests"
    ] == []


def test_an_import_that_crosses_is_named(tmp_path: Path) -> None:
    for name, source in {
        "tests/http/test_one.py": "from tests.broker.helpers import Call\nfrom tests.support.clock import FakeClock\n",
        "tests/broker/test_two.py": "import tests.broker.three\nfrom tests.broker import three\nfrom . import four\n",
        "tests/broker/test_three.py": "from ..http import calls\n",
        "tests/support/clock.py": "def late() -> None:\n    import tests.http\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    assert crossings(tmp_path) == [
        "tests/broker/test_three.py:1 imports tests.http.calls",
        "tests/http/test_one.py:1 imports tests.broker.helpers.Call",
        "tests/support/clock.py:2 imports tests.http",
    ]
