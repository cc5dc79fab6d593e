"""The completion script of bash, run by a real bash; that of zsh, read by a real zsh."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.waiting import PATIENCE_S

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")


def completed(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    script = run("completion", "bash").out.decode()
    ask = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _shtab_wonderq; "
    done = subprocess.run(
        ["bash", "--norc", "-c", f'{script}\n{ask} printf "%s\\n" "${{COMPREPLY[@]}}"'],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.split("\n")))


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("que",), ["queue"]),
        (("re",), ["receive", "redrive"]),
        (("queue", "p"), ["pause", "purge"]),
        (("queue", "purge", "--y"), ["--yes"]),
        (("send", "--pri"), ["--priority"]),
        (("peek", "--status", "pro"), ["processing"]),
        (("completion", ""), ["bash", "zsh"]),
        (("folder", "verify", "da"), ["data"]),
        (("serve", "--acc"), ["--accept-clock", "--access-log"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "dates.txt").touch()
    assert completed(tmp_path, "wonderq", *words) == offered


@needs_zsh
def test_zsh_reads_its_script() -> None:
    script = run("completion", "zsh").out
    done = subprocess.run(
        ["zsh", "-n", "/dev/stdin"], input=script, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_each_script_has_the_commands() -> None:
    for shell in ("bash", "zsh"):
        done = run("completion", shell)
        assert done.code == 0
        assert b"reset-clock" in done.out
    assert run("completion", "fish").code == 2
