"""``python -m wonderq`` is ``wonderq``."""

from __future__ import annotations

import sys

from wonderq.cli.main import main

sys.exit(main())
