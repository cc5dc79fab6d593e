"""`import wonderq` gives the public names, and imports no more than they need."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import wonderq
from wonderq.client.async_message import AsyncMessage
from wonderq.client.async_queue import AsyncQueue
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.sync import Client
from wonderq.client.sync_message import Message
from wonderq.client.sync_queue import Queue


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


@pytest.mark.parametrize(
    ("of_threads", "of_tasks", "others"),
    [
        (Client, AsyncClient, {"like", "with_pool"}),  # of the worker, which makes clients like its own
        (Queue, AsyncQueue, {"messages"}),
        (Message, AsyncMessage, set()),
    ],
)
def test_both_clients_have_the_same_names(of_threads: type, of_tasks: type, others: set[str]) -> None:
    def public(kind: type) -> dict[str, Any]:
        return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}

    def parameters(function: Any) -> list[tuple[str, Any, Any]]:
        return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]

    one, other = public(of_threads), public(of_tasks)
    assert one.keys() ^ other.keys() == others
    for name in one.keys() & other.keys():
        if callable(one[name]):
            assert parameters(one[name]) == parameters(other[name]), name


def test_a_message_is_frozen() -> None:
    message = Message(id="a", text="b", queue="q", status="processing", tries=1, produced_at=datetime.now(UTC))
    with pytest.raises(AttributeError, match="immutable"):
        message.text = "c"  # type: ignore[misc]
