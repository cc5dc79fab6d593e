"""Keys of all kinds, to find out which of them a request is for."""

from __future__ import annotations

from pathlib import Path

from wonderq.auth import keys
from wonderq.auth.roles import ROLES

Bearers = dict[str, str | None]
"""Texts of keys by their kind."""


def bearers_of_all_kinds(path: Path) -> Bearers:
    """Make a key for each role on ``mine`` and one on ``theirs``; return them, with a missing and an unknown one."""
    made: Bearers = {role: keys.create(path, name="k", roles=[role], queues=["mine"])[1] for role in ROLES}
    made["elsewhere"] = keys.create(path, name="k", roles=["admin"], queues=["theirs"])[1]
    return {**made, "none": None, "unknown": "wq_000000000000_" + "0" * 64}
