"""`make` says what it is about to install, and refuses a Python that is too old with a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from tests.support.image import ROOT

SCRIPT = ROOT / "tools" / "before_install.py"


def test_each_library_is_named() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = done.stdout.partition("and nowhere else")[2]
    assert [name for name in (re.split(r"[^\w-]", each)[0] for each in needed) if name not in named] == []


def test_a_python_that_is_too_old_is_refused_with_the_remedy() -> None:
    program = f"""
import runpy, sys
sys.version_info = (3, 9, 18)
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("WonderQ needs Python 3.11 or newer, and ")
    assert done.stderr.endswith("Name another: make PYTHON=python3.13\n")


def test_make_installs_after_the_notice() -> None:
    text = (ROOT / "Makefile").read_text()
    assert text.index("tools/before_install.py") < text.index("-m venv .venv\n")
