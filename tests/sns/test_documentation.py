"""docs/SNS.md names every action, role, attribute, operator and limit as they are."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from wonderq.model import filters, filters_conditions
from wonderq.sns.endpoint import ACTIONS
from wonderq.sns.limits import STRICT

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "SNS.md").read_text()
DIFFERENCES = (ROOT / "docs" / "SNS_DIFFERENCES.md").read_text()


def section(heading: str) -> str:
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_column(heading: str) -> list[str]:
    """Return the names in the first column of the tables of a section."""
    rows = re.findall(r"^\| ([^|]*) \|", section(heading), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]*)`", row)]


def test_every_action_stands_in_its_table_once() -> None:
    assert sorted(first_column("Actions")) == sorted(ACTIONS)


def test_the_roles_are_as_told() -> None:
    rows = re.findall(
        r"^\| (`[^|]*`|all others) \| `(\w+)` on the topic \|$", section("Keys and signatures"), re.MULTILINE
    )
    told = {pattern: role for names, role in rows for pattern in re.findall(r"`([^`]*)`", names) or ["*"]}
    assert list(told)[-1] == "*"
    for name, action in ACTIONS.items():
        assert action.role == next(role for pattern, role in told.items() if fnmatchcase(name, pattern)), name


def test_every_operator_is_told() -> None:
    assert all(f'"{name}"' in section("Filter policies") for name in filters_conditions.OPERATORS)


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("keys, without", filters.MAX_KEYS),
        ("combinations", filters.MAX_COMBINATIONS),
        ("keys, values and operators", filters.MAX_PARTS),
        ("size", filters.MAX_POLICY_BYTES >> 10),
        ("numbers of a policy", filters_conditions.MAX_NUMBER),
        ("points of all", filters_conditions.MAX_WILDCARD_POINTS),
        ("entries in a batch", STRICT.batch_entries),
        ("bytes of a message", STRICT.message_bytes >> 10),
        ("bytes of a batch", STRICT.batch_bytes >> 10),
    ],
)
def test_the_limits_are_as_told(row: str, value: int) -> None:
    found = re.search(rf"^\| {re.escape(row)}[^|]*\| ([^|]*) \|", TEXT, re.MULTILINE)
    assert found is not None
    assert re.search(rf"(?<![\d,]){value:,}(?![\d,])", found[1])


def test_what_is_refused_is_told() -> None:
    for name in ("ArchivePolicy", "DataProtectionPolicy", "ReplayPolicy", "SubscriptionRoleArn"):
        assert f"`{name}`" in DIFFERENCES
