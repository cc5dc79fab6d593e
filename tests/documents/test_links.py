"""Links between the files of the repository lead to files and headings that exist, as a code host shows them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.document_blocks import ROOT, pages

PAGES = [*pages(), *sorted((ROOT / "benchmarks").rglob("*.md"))]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def text_of(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors_of(path: Path) -> set[str]:
    """Return the anchors that a code host gives to the headings of a page."""
    found: dict[str, int] = {}
    anchors = set()
    for title in re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        name = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        anchors.add(name if name not in found else f"{name}-{found[name]}")
        found[name] = found.get(name, 0) + 1
    return anchors


def broken_links(path: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for link in _LINK.findall(_CODE.sub("", text_of(path))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("name", [str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(name: str) -> None:
    assert broken_links(ROOT / name) == []


def missing_paths(text: str) -> list[str]:
    """Return the paths of the repository that a text names as code and does not have. ``storage/`` stands for its package."""
    named = re.findall(r"`((?:benchmarks|docs|storage|tests|tools|wonderq)/[\w./-]*)`", text)
    return [
        each
        for each in named
        if not (ROOT / each).exists() and not (ROOT / each.replace("storage/", "storage/wonderq_storage/", 1)).exists()
    ]


def test_paths_of_the_repository_exist() -> None:
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    assert sum(text.count("`tests/") for text in texts.values()) > 50
    assert {name: missing for name, text in texts.items() if (missing := missing_paths(text))} == {}


def test_a_missing_path_is_noticed() -> None:
    assert missing_paths("`tests/nowhere.py`, `storage/frame.py`, `docs/API.md`") == ["tests/nowhere.py"]


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# A title, with `code`\n\n## Twice\n\n## Twice\n")
    good = "[a](other.md) [b](other.md#a-title-with-code) [c](other.md#twice-1) [d](#here) [e](https://e.example) `[f](g.md)`"
    page.write_text(f"# Here\n\n{good} [h](missing.md) [i](other.md#twice-2) [j](#there)\n")
    assert broken_links(page) == ["missing.md", "other.md#twice-2", "#there"]
