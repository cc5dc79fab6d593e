"""All of WonderQ can be imported on a system that lacks the names of Linux."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.portability.other_system import SYSTEMS, environment
from tests.support.waiting import PATIENCE_S

#: Imports every module but those that run something, and prints what `select` and `os` have.
_IMPORT_ALL = """
import importlib, os, pkgutil, select, sys
import wonderq, wonderq_storage

count = 0
for package in (wonderq, wonderq_storage):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: 1 / 0):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            count += 1
from wonderq_storage.checksum import crc32
import zlib
print(count > 300, hasattr(select, "epoll"), hasattr(select, "kqueue"), hasattr(os, "fdatasync"), crc32 is zlib.crc32)
"""


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_is_imported(system: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORT_ALL],
        env={**os.environ, **environment(system)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["True", "False", str(system == "macos"), "False", "True"]
