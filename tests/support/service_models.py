"""AWS's description of a service, which botocore has, beside the source of WonderQ."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def texts_in(sources: Iterable[Path]) -> set[str]:
    """Return the texts in source files."""
    return {
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def members(shape: Any) -> set[str]:
    """Return the names of all members of a structure, and of those within."""
    if shape is None or shape.type_name in ("string", "integer", "long", "boolean", "blob"):
        return set()
    if shape.type_name == "list":
        return members(shape.member)
    if shape.type_name == "map":
        return members(shape.value)
    return set(shape.members).union(*map(members, shape.members.values()))
