"""Run the `wonderq` command with ``python -m wonderq``."""

from __future__ import annotations

import sys

from wonderq.cli.main import main

sys.exit(main())
