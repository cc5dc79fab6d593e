"""The application of docs/TASK_LIBRARIES.md, at the address of the test's broker."""

from __future__ import annotations

import os
from typing import Any

from tests.support.pages import blocks_of

app: Any
"""The application, which the page's code makes."""

[_block] = blocks_of("TASK_LIBRARIES.md")["Celery"]
exec(compile(_block.replace("127.0.0.1:7979", os.environ["TASKS_ADDRESS"]), "docs/TASK_LIBRARIES.md", "exec"))
