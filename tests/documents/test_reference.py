"""The pages of docs/reference agree with the program, and each error code has a remedy."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support.waiting import PATIENCE_S
from tools.reference.__main__ import FOLDER, PAGES, SHARE, SHARED
from tools.reference.command_line import command_line, commands
from tools.reference.remedies import REMEDIES
from wonderq.cli.main import build_parser
from wonderq.rest.error_codes import ERROR_CODES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run `make reference`"


@pytest.mark.parametrize("folder", sorted(SHARED))
def test_man_pages_and_completions_are_up_to_date(folder: str) -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in (SHARE / folder).iterdir()}
    assert there == SHARED[folder](), "run `make reference`"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_finds_no_fault_in_the_man_pages() -> None:
    for path in sorted((SHARE / "man" / "man1").iterdir()):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", path],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), path.name


def test_each_error_code_has_a_remedy() -> None:
    assert REMEDIES.keys() == ERROR_CODES.keys()
    assert all(remedy.endswith(".") and remedy[0].isupper() for remedy in REMEDIES.values())


def test_the_page_of_the_command_line_has_each_command() -> None:
    names = [name for name, _, _ in commands(build_parser())]
    assert {"wonderq serve", "wonderq key create", "wonderq schedule set"} <= {*names}
    text = command_line()
    assert all(f"## {name}\n" in text for name in names)
