"""Bounds that no setting changes."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 16 << 20
"""Largest value of `Limits.message_bytes`: compaction must be able to rewrite a message into a segment of any size."""

MAX_SOURCES = 32
"""Most queues that one poll claims from."""

MAX_CONSUMER_CHARACTERS = 64
"""Longest name of a consumer."""

MAX_WEIGHT = 1000
"""Largest weight of one of them."""

ESCAPED_BYTES = 6
"""Most bytes that a character of a message takes in JSON for each byte in UTF-8: ``\\u0000`` for a zero byte."""

CLOCK_JUMP_S = 3600
"""Largest time since a log's newest record that is believed without evidence, unless a setting has another one."""
