"""Every console block of README.md and of docs/ does what its page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.pages import MissingProgramError, run_page
from tests.support.document_blocks import ROOT, Kind, blocks_of, pages

#: Pages with a test of their own that runs their commands.
RUN_ELSEWHERE = {"docs/TASKS.md": "tests/how_to/test_tasks_page.py"}

RUNNABLE = [
    name
    for page in pages()
    if (name := str(page.relative_to(ROOT))) not in RUN_ELSEWHERE
    and any(block.kind is Kind.RUN for block in blocks_of(page))
]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_page_does_what_it_shows(name: str, tmp_path: Path) -> None:
    try:
        run_page(ROOT / name, tmp_path)
    except MissingProgramError as missing:
        pytest.skip(str(missing))


def test_pages_that_are_run_elsewhere_are() -> None:
    for page, test in RUN_ELSEWHERE.items():
        assert f'PAGE = "{Path(page).name}"' in (ROOT / test).read_text()
