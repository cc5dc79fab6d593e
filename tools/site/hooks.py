"""Adapts the pages of the repository to the site: mkdocs calls these functions.

The files in docs/ are also read on a code host, so their links lead to files of the repository. On the site:

- files about the project, such as CHANGELOG.md, are pages below project/,
- a link to any other file of the repository is its path, as text, since the site has no copy of it,
- a link whose text is the name of a page has the title of that page,
- a diagram in Mermaid is the picture of it in docs/diagrams, because its renderer would come from another origin.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

#: Files beside docs/ that become pages of the site, and their places there.
PROJECT_PAGES = {
    name: f"project/{name}"
    for name in ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "ROADMAP.md", "SECURITY.md")
}
#: A script of the site that is not for readers of docs/ on a code host.
_SCRIPT = "search.js"

#: README.md is not on the site; the home page is.
_HOME = "index.md"

#: Weights of pages in the search, by the beginning of their place. Questions come from users, so guides come before
#: pages about the inside, and a page that mentions everything comes after those that explain it.
_WEIGHTS = {
    "how-to/migrate-from-sqs.md": 1.5,
    "how-to/migrate-": 1.0,
    "how-to/": 2.0,
    "explanation/faq.md": 3.0,
    "explanation/": 2.0,
    "HOW_TO.md": 2.0,
    "tutorials/": 1.5,
    "ARCHITECTURE.md": 0.4,
    "FEATURES.md": 0.4,
    "FORMAT.md": 0.4,
    "GLOSSARY.md": 0.4,
    "RELIABILITY.md": 0.4,
    "project/": 0.4,
    "reference/http-calls.md": 0.3,
}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_log = logging.getLogger("mkdocs.hooks.wonderq")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files about the project, and the script of the search."""
    files.append(File.generated(config, _SCRIPT, abs_src_path=str(Path(__file__).with_name(_SCRIPT))))
    for name, place in PROJECT_PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Adapt the links and diagrams of a page, and set its weight in the search."""
    place = page.file.src_uri
    weight = next((weight for beginning, weight in _WEIGHTS.items() if place.startswith(beginning)), 1.0)
    page.meta["search"] = {"boost": weight}
    origin = next((name for name, target in PROJECT_PAGES.items() if target == place), f"docs/{place}")
    markdown = MERMAID.sub(lambda match: _diagram(match[1], place), markdown)
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda match: _link(match, origin, place), part) for part in parts[::2]]
    return "".join(parts)


def _link(match: re.Match[str], origin: str, place: str) -> str:
    """Return a link of the file ``origin`` of the repository as one of the page ``place``."""
    image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
    if not target or ":" in target:
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    if path == "README.md":
        destination, anchor = _HOME, ""
    elif path in PROJECT_PAGES:
        destination = PROJECT_PAGES[path]
    elif path.startswith("docs/"):
        destination = path.removeprefix("docs/")
    elif (ROOT / path).exists():
        return f"{text} (`{path}`)" if text.strip("`") != path else f"`{path}`"
    else:
        return match[0]  # mkdocs reports it
    if text.endswith(".md"):  # the name of a file means nothing here
        text = _title(path) if path != "README.md" else "home page"
    relative = posixpath.relpath(destination, posixpath.dirname(place) or ".")
    return f"{image}[{text}]({relative}{anchor})"


@cache
def _title(path: str) -> str:
    """Return the title of a page of the repository."""
    with (ROOT / path).open(encoding="utf-8") as file:
        return next(line.removeprefix("# ").strip() for line in file if line.startswith("# "))


def _diagram(source: str, place: str) -> str:
    """Return a link to the picture of a diagram. Its name depends on its source, so an old picture is never shown."""
    name = diagram_name(source)
    if not (ROOT / "docs" / "diagrams" / name).exists():
        _log.warning("%s: docs/diagrams/%s is missing. Make it with `make diagrams`", place, name)
    relative = posixpath.relpath(f"diagrams/{name}", posixpath.dirname(place) or ".")
    return f"![The diagram that the text describes]({relative})"


def diagram_name(source: str) -> str:
    """Return the name of the picture of a diagram in Mermaid."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.svg"
