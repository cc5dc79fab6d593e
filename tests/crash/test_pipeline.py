"""Guarantees for a pipeline when the broker is killed, and checks that its rules detect violations."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.pipeline import DEAD, DONE, MAX_RECEIVES, STEPS, Found, Pipeline, judge


@pytest.mark.parametrize(("fsync", "segment_bytes"), [("always", 1 << 16), ("os", 32 << 20)])
def test_kills_break_no_promise(fsync: str, segment_bytes: int, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    pipeline = Pipeline(tmp_path, seed, fsync=fsync, segment_bytes=segment_bytes)
    assert pipeline.run(4) == []
    print(pipeline.figures)
    assert pipeline.figures["sent"] > 10
    assert pipeline.figures[DONE] > 0


TRIED = ["a 0 work", "a 1 poison", "a 2 work", "b 0 work", "b 1 work"]
SENT = {body: f"id of {body}" for body in TRIED[:-1]}


def here(*bodies: str) -> list[Found]:
    return [Found(body, f"id of {body}", MAX_RECEIVES if body.endswith("poison") else None) for body in bodies]


RIGHT = {STEPS: here("a 2 work"), DONE: here("a 0 work", "b 0 work"), DEAD: here("a 1 poison")}

WRONG: dict[str, tuple[dict[str, list[Found]], str]] = {
    "a message in two queues": ({STEPS: here("a 0 work", "a 2 work")}, "a 0 work is there 2 times"),
    "a key used twice": ({STEPS: here("a 2 work", "a 2 work")}, "a 2 work is there 2 times"),
    "a message nowhere": ({DONE: here("a 0 work")}, "b 0 work was answered and is nowhere"),
    "a message nobody sent": ({STEPS: here("a 2 work", "a 3 work")}, "nobody sent a 3 work"),
    "order in a group": (
        {STEPS: [], DONE: here("b 0 work", "a 2 work", "a 0 work")},
        "in done, a 0 work comes after a 2 work",
    ),
    "another id": ({STEPS: [Found("a 2 work", "x")]}, "a 2 work has another id than was answered"),
    "poison handed over": (
        {DONE: here("a 0 work", "b 0 work", "a 1 poison"), DEAD: []},
        "a 1 poison was handed over, which nobody did",
    ),
    "a dead letter that came from nowhere": (
        {STEPS: [], DEAD: here("a 1 poison", "a 2 work")},
        "a 2 work is a dead letter after None receives",
    ),
    "a dead letter that nobody gave up on": (
        {DEAD: [Found("a 1 poison", "y", 2, "a 1 poison")]},
        "a 1 poison is a dead letter after 2 receives",
    ),
    "the error of another": (
        {STEPS: [Found("a 2 work", "id of a 2 work", error="b 0 work")]},
        "a 2 work has the error of b",
    ),
    "a dead letter too early": ({DEAD: [Found("a 1 poison", "y", 2)]}, "a 1 poison is a dead letter after 2 receives"),
}


def test_what_is_right_passes() -> None:
    assert judge(TRIED, SENT, RIGHT) == []
    given_up = [Found("a 1 poison", "y", 1, "a 1 poison", "a 1 poison")]
    assert judge(TRIED, SENT, {**RIGHT, DEAD: given_up}) == []
    unanswered = {**RIGHT, STEPS: here("a 2 work", "b 1 work")}
    assert judge(TRIED, SENT, unanswered) == [], "what was not answered may be there, or not"


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_noticed(kind: str) -> None:
    change, says = WRONG[kind]
    assert any(each.startswith(says) for each in judge(TRIED, SENT, {**RIGHT, **change}))
