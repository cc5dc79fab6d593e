"""docs/SQS.md has every action and every attribute, and says of limits what they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from wonderq.sqs import queue_attributes
from wonderq.sqs.endpoint import ACTIONS
from wonderq.sqs.limits import STRICT

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "SQS.md").read_text()
MODEL: Any = botocore.session.get_session().get_service_model("sqs")


def first_column(heading: str) -> list[str]:
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall("`([^`]+)`", row)
    ]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Actions", set(ACTIONS)),
        ("Attributes of queues", {*queue_attributes.SETTABLE, *queue_attributes.READ_ONLY}),
        ("Attributes of messages", set(MODEL.shape_for("MessageSystemAttributeName").enum) - {"All"}),
    ],
)
def test_every_name_stands_in_its_table_once(heading: str, expected: set[str]) -> None:
    found = first_column(heading)
    assert sorted(found) == sorted(expected)


def test_attributes_are_those_of_the_model() -> None:
    known = {*queue_attributes.SETTABLE, *queue_attributes.READ_ONLY}
    assert known == set(MODEL.shape_for("QueueAttributeName").enum) - {"All"}


def test_the_roles_are_as_told() -> None:
    told = {
        "produce": "^Send",
        "consume": "^(Receive|DeleteMessage|Change)",
        "inspect": "^(Get|List)(?!QueueUrl$)",
        None: "^GetQueueUrl$",
    }
    for name, action in ACTIONS.items():
        matching = [role for role, pattern in told.items() if re.match(pattern, name)]
        assert [action.role] == (matching or ["admin"]), name


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("entries in a batch, messages in a receive", STRICT.batch_entries),
        ("attributes of a message", STRICT.attributes),
        ("`DelaySeconds`", STRICT.delay_s),
        ("`maxReceiveCount`", STRICT.receives),
        ("messages in flight", STRICT.in_flight),
        ("a queue of the same name after a deletion; a second purge", int(STRICT.wait_after_purge_s)),
    ],
)
def test_the_limits_are_as_told(row: str, value: int) -> None:
    found = re.search(rf"^\| {re.escape(row)} \| ([^|]*) \|", TEXT, re.MULTILINE)
    assert found is not None
    assert re.search(rf"\b{value:,}\b", found[1]) or re.search(rf"\b{value}\b", found[1])
