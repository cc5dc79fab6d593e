"""The wheel and the source distribution hold the product and nothing else, and the package index accepts them."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.environments import run
from tests.support.image import ROOT
from wonderq import __version__

#: `make dist` makes this environment.
TWINE = ROOT / ".venv-release" / "bin" / "twine"


def test_the_wheel_installs_the_product_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl"), "for every system"
    with zipfile.ZipFile(wheel) as archive:
        files, infos = archive.namelist(), archive.infolist()
    outside = {name for name in files if name.startswith(f"wonderq-{__version__}.data/")}
    assert all(name.split("/")[1:3] == ["data", "share"] for name in outside), "only man pages and the like"
    assert {name.partition("/")[0] for name in {*files} - outside} == {
        "wonderq",
        "wonderq_storage",
        f"wonderq-{__version__}.dist-info",
    }
    shared = f"wonderq-{__version__}.data/data/share"
    assert {
        f"{shared}/man/man1/wonderq.1",
        f"{shared}/man/man1/wonderq-queue.1",
        f"{shared}/bash-completion/completions/wonderq",
        f"{shared}/zsh/site-functions/_wonderq",
    } <= {*files}
    assert "wonderq/py.typed" in files
    assert sum(each.compress_size for each in infos if each.filename.startswith("wonderq/ui/")) < 116_000
    assert {"wonderq/ui/index.html", "wonderq/ui/app/main.js", "wonderq/ui/vendor/LICENSE-uplot.txt"} <= set(files)
    for_users = ("wonderq/testing/", "wonderq/pytest_plugin.py")
    assert not [name for name in files if "test" in name.lower() and not name.startswith(for_users)]


def test_the_source_distribution_holds_the_files_of_the_repository_and_nothing_else(sdist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so git cannot list the files")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    known = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    assert files - {*known} == {"PKG-INFO"}
    assert {each for each in {*known} - files if not each.startswith((".ci/", ".github/"))} == set()


@pytest.mark.skipif(not TWINE.exists(), reason="twine is not installed: run make dist once")
def test_the_package_index_would_accept_both(wheel: Path, sdist: Path) -> None:
    done = subprocess.run([TWINE, "check", "--strict", wheel, sdist], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2
