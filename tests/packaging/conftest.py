"""The wheel and the source distribution of this tree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.environments import run
from tests.support.image import ROOT


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both. The wheel is built from the source distribution, as the package index would have it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    [wheel] = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    [sdist] = dist.glob("*.tar.gz")
    return sdist
