"""The page of the settings of a broker, and of a queue."""

from __future__ import annotations

from dataclasses import fields

from tools.reference.markdown import NOTICE, sentence, table
from wonderq.config import Settings, as_text

_HEAD = """# Settings of a broker

Each setting of `wonderq serve` is a flag, a variable and a key of a TOML file (`--config FILE`). The flag takes
precedence over the variable, the variable over the file, and the file over the default. An unknown variable that begins
with `WONDERQ_`, and an unknown key of the file, refuse the start.

```toml
listen = "127.0.0.1:7979"
log_format = "json"
total_messages = 10000000
```

[API.md](../API.md#limits) describes the limits with their errors. Settings of a queue are part of its object:
[API.md](../API.md#settings-of-a-queue). Three more variables exist: `WONDERQ_CONFIG` is the same as `--config`, and
clients read `WONDERQ_URL` and `WONDERQ_KEY`, the address of the broker and the key.
"""


def settings() -> str:
    """Return the page."""
    rows = [
        (
            f"`--{each.name.replace('_', '-')} {each.metadata['metavar']}`",
            f"`WONDERQ_{each.name.upper()}`",
            f"`{as_text(each.default)}`",
            sentence(each.metadata["help"]),
        )
        for each in fields(Settings)
    ]
    return "\n".join([NOTICE, _HEAD, table(("flag", "variable", "default", "meaning"), rows)])
