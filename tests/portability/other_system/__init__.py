"""Python on Linux as it is on another system: without the names of Linux, so that WonderQ has to do without them.

`environment` makes every Python process that is started with it pretend, brokers and workers too: the folder of this
package is on `PYTHONPATH`, and Python imports its `sitecustomize` at the start. `sys.platform` stays what it is.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Systems to pretend. ``macos`` has a kqueue and F_FULLFSYNC, which are imitated; ``posix`` has neither.
SYSTEMS = ("macos", "posix")

VARIABLE = "PRETENDED_SYSTEM"

_HERE = Path(__file__).parent


def environment(system: str) -> dict[str, str]:
    """Return the variables that make a Python process pretend to run on a system."""
    assert system in SYSTEMS
    return {VARIABLE: system, "PYTHONPATH": os.pathsep.join((str(_HERE), str(_HERE.parents[2])))}
