"""A slice of the comparison of real answers with the OpenAPI document; and what is not as described is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import http

CASES = 400


def test_a_slice() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    calls = http.run(CASES, seed)
    assert calls.total() > CASES // 2
    assert {name.rpartition(" ")[2] for name in calls} >= {"200", "201", "400", "401", "403", "404"}


def without_status(document: dict[str, Any]) -> None:
    del document["paths"]["/queues/{queue}"]["get"]["responses"]["404"]


def without_code(document: dict[str, Any]) -> None:
    for name, response in document["components"]["responses"].items():
        if name.startswith("404"):
            for content in response["content"].values():
                content["schema"]["properties"]["error"]["properties"]["code"]["enum"] = ["path_not_found"]


def without_field(document: dict[str, Any]) -> None:
    queue = document["components"]["schemas"]["Queue"]
    del queue["properties"]["bytes"]
    queue["required"].remove("bytes")


def with_another_type(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Queue"]["properties"]["oldest_age"] = {"type": "string"}


def without_msgpack(document: dict[str, Any]) -> None:
    del document["paths"]["/queues"]["get"]["responses"]["200"]["content"]["application/msgpack"]


def with_another_parameter(document: dict[str, Any]) -> None:
    document["paths"]["/queues"]["get"]["parameters"] = [
        {"name": "suffix", "in": "query", "required": True, "schema": {"type": "string", "enum": ["a"]}}
    ]


@pytest.mark.parametrize(
    "spoil",
    [without_status, without_code, without_field, with_another_type, without_msgpack, with_another_parameter],
    ids=lambda spoil: spoil.__name__,
)
def test_what_is_not_described_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[dict[str, Any]], None]
) -> None:
    document = http.strict_document()
    spoil(document)
    for path in list(document["paths"]):
        if path not in ("/queues", "/queues/{queue}"):
            del document["paths"][path]
    monkeypatch.setattr(http, "strict_document", lambda: document)
    with http.a_broker(tmp_path / "broker", with_keys=False) as caller:
        with pytest.raises(http.UndescribedError, match=r"answered (200|400|404)"):
            http.fuzz(caller, 200, 1)
        assert caller.calls.total() > 0


def test_a_call_that_should_have_been_forbidden_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "role_of", lambda _method, _path: "admin")
    with (
        http.a_broker(tmp_path / "broker", with_keys=True) as caller,
        pytest.raises(http.UndescribedError, match="may not do this"),
    ):
        http.fuzz(caller, CASES, 1)
