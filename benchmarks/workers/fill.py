"""Send tasks: `python -m benchmarks.workers.fill MODULE NAME TASKS`."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    module, name, tasks = sys.argv[1:]
    importlib.import_module(module).fill(name, int(tasks))


if __name__ == "__main__":
    main()
