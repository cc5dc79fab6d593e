"""Every console block of README.md and of docs/ does what its page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.pages import MissingProgramError, run_page
from tests.support.document_blocks import ROOT, Kind, blocks_of, pages

RUNNABLE = [str(page.relative_to(ROOT)) for page in pages() if any(block.kind is Kind.RUN for block in blocks_of(page))]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_a_page_does_what_it_shows(name: str, tmp_path: Path) -> None:
    try:
        run_page(ROOT / name, tmp_path)
    except MissingProgramError as missing:
        pytest.skip(str(missing))
