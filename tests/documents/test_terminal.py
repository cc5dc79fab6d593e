"""The terminal in which the commands of a page run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.documents.pages import MissingProgramError, run_page
from tests.documents.terminal import Terminal
from tests.support.needs import needs_path
from tests.support.waiting import eventually


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    # A page whose first command starts a broker gets none; this one never comes up, and nothing waits for it.
    path.write_text(f"<!-- test: run\nserve() {{ true; }}\n-->\n\n{text}")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_commands_share_a_shell_and_a_folder(folder: Path) -> None:
    with Terminal(folder) as terminal:
        assert terminal.run("NAME=ann; mkdir -p /var/lib/wonderq") == (0, [])
        assert terminal.run("echo $NAME; echo error >&2; false") == (1, ["ann", "error"])
        assert terminal.run("cat") == (0, []), "a command has no input"
        assert terminal.run("cd /var/lib/wonderq && pwd") == (0, ["/var/lib/wonderq"])
        code, [address] = terminal.run("echo $WONDERQ_URL 127.0.0.1:7979")
        assert (code, address) == (0, "http://127.0.0.1:7979 127.0.0.1:7979"), (
            "the page's address stands for that of the run"
        )
    assert (folder / "var-lib-wonderq").is_dir()
    assert not Path("/var/lib/wonderq").exists()


@needs_path("/proc/self/stat")
def test_what_was_started_ends_with_the_terminal(folder: Path) -> None:
    with Terminal(folder) as terminal:
        terminal.run("sleep 600 & echo $! > pid")
        pid = int((folder / "pid").read_text())
        os.kill(pid, 0)
    # A zombie is left until its parent, now init, takes note.
    eventually(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


def test_a_page_runs(tmp_path: Path, folder: Path) -> None:
    text = "<!-- test: write hello.sh -->\n\n```sh\necho hello\n```\n\n```console\n$ sh hello.sh\nhello\n$ true\n```\n"
    assert run_page(page(tmp_path, text), folder) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    $ echo two\n    one\n", r"page\.md:5: echo two\n[^$]*-one\n\+two"),
        ("    $ false\n", "ended with exit code 1"),
        ("<!-- test: exit code 3 -->\n\n    $ true\n", "ended with exit code 0"),
        ("    $ exit 3\n", "the shell ended in 'exit 3'"),
    ],
)
def test_a_page_that_drifts_fails(tmp_path: Path, folder: Path, text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        run_page(page(tmp_path, text), folder)


def test_a_page_that_needs_a_missing_program_is_not_run_further(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MissingProgramError, match=r"page\.md:5 needs no-such-program"):
        run_page(page(tmp_path, "<!-- test: needs sh pytest no-such-program\nfalse\n-->\n"), folder)
