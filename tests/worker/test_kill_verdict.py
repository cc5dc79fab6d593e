"""The verdict of `tests.worker.kill_cycles` on notes and dead letters that are right, and on each kind that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.worker import kill_verdict
from tests.worker.kill_tasks import Note
from tests.worker.script import message
from tests.worker.sender import Sent
from wonderq.client.failures import Failure
from wonderq.client.messages import Contents, DeadLetter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACKNOWLEDGED = {"a": Sent("1", "in_thread"), "b": Sent("2", "hopeless")}
NOTES = [
    Note("began", "1", 1, "a"),
    Note("began", "2", 1, "b"),
    Note("ended", "2", 1, "b"),
    Note("began", "1", 2, "a"),
    Note("ended", "1", 2, "a"),
    Note("began", "3", 1, "c"),
]


def of_sends(begun: str, notes: list[Note]) -> list[str]:
    return list(kill_verdict.of_sends(set(begun), ACKNOWLEDGED, notes))


def test_sends() -> None:
    assert of_sends("abc", NOTES) == []
    assert of_sends("abc", [note for note in NOTES if note != ("ended", "1", 2, "a")]) == [
        "the acknowledged send a (1) was not handled"
    ]
    assert of_sends("abc", [*NOTES, Note("began", "4", 1, "c")]) == ["the send c was added 2 times"]
    assert of_sends("abc", [*NOTES, Note("began", "4", 1, "a")])[0].startswith("the send a was acknowledged as 1")
    assert of_sends("ab", NOTES) == ["nobody sent c"]


def test_first_tries() -> None:
    good = [Note("began", "1", 1, "a"), Note("failed", "2", 1, "b"), Note("failed", "2", 2, "b")]
    assert list(kill_verdict.of_first_tries(good)) == []
    for bad in (Note("began", "1", 2, "a"), Note("failed", "2", 3, "b")):
        assert list(kill_verdict.of_first_tries([*good, bad])) != []


def letter(source: str, *, text: str = "", attempt: int = 1, consumer: str | None = "host:1") -> Contents:
    error = Failure("wonderq.Dead", text or f"{source} is hopeless", "", NOW, attempt, consumer)
    return message(f"dead-{source}", dead_letter=DeadLetter("jobs", source, "", NOW, NOW, 1), last_error=error)


@pytest.mark.parametrize(
    ("letters", "problem"),
    [
        ([letter("2")], None),
        ([letter("2"), letter("3")], None),
        ([], "lost dead letters {'2'}"),
        ([letter("2"), letter("2")], r"doubled \['2'\]"),
        ([letter("2"), letter("9")], "never handled {'9'}"),
        ([letter("2", text="no")], "another error"),
        ([letter("2", attempt=2)], "another error"),
        ([letter("2", consumer=None)], "does not name its worker"),
        ([letter("2"), message("m")], "another error"),
    ],
)
def test_dead_letters(letters: list[Contents], problem: str | None) -> None:
    check(kill_verdict.of_dead_letters({"2"}, letters, {"1", "2", "3"}), problem)


@pytest.mark.parametrize(
    ("consumer", "problem"), [(None, None), ("host:7", None), ("host:8", "host:8 was stopped, and did not give back m")]
)
def test_stopped_workers(consumer: str | None, problem: str | None) -> None:
    check(kill_verdict.of_stopped_workers({8, 9}, [message("m", consumer=consumer)]), problem)


@pytest.mark.parametrize(
    ("ended", "problem"), [([1, 2], None), ([3], None), ([1], "try 1 of 1 was acknowledged"), ([], "acknowledged")]
)
def test_lost_claims(ended: list[int], problem: str | None) -> None:
    notes = [Note("ended", "1", tries, "a") for tries in ended]
    check(kill_verdict.of_lost_claims([Note("began", "1", 1, "a")], notes), problem)


@pytest.mark.parametrize(
    ("tries", "log", "problem"),
    [(1, "waits 1 done", None), (2, "", "lost claims"), (1, "waits 1: the lease was lost, so", "lost claims")],
)
def test_healthy_handlers(tries: int, log: str, problem: str | None) -> None:
    check(kill_verdict.of_healthy_handlers([Note("began", "1", tries, "a")], log), problem)


def check(found: Iterator[str], problem: str | None) -> None:
    """Check that nothing is wrong, or that this is."""
    texts = list(found)
    if problem is None:
        assert texts == []
    else:
        assert any(re.search(problem, text) for text in texts), texts
