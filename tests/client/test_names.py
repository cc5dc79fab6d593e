"""`import wonderq` gives the public names, and imports no more than they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import wonderq


@pytest.mark.parametrize("name", wonderq.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(wonderq, name).__class__ is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Klient"):
        _ = wonderq.Klient  # type: ignore[attr-defined]


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import wonderq", {"msgspec", "ssl", "aiohttp", "falcon", "waitress"}),
        ("from wonderq import Client", {"aiohttp", "falcon", "waitress", "wonderq.broker", "wonderq.model"}),
        ("from wonderq import AsyncClient", {"falcon", "waitress", "wonderq.broker", "wonderq.model"}),
    ],
)
def test_a_client_imports_no_server(statement: str, absent: set[str]) -> None:
    assert not imported_by(statement) & absent
