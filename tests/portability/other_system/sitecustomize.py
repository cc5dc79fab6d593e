"""Python imports this at its start if the folder is on `PYTHONPATH`."""

from __future__ import annotations

import os

from tests.portability.other_system import VARIABLE
from tests.portability.other_system.pretence import pretend

pretend(os.environ[VARIABLE])
