"""The tree of errors."""

from __future__ import annotations

import copy
import pickle

import pytest

import wonderq
from wonderq.client import errors
from wonderq.client.errors import (
    ClientClosedError,
    Refused,
    TooMany,
    Unreachable,
    WonderQError,
    refused,
    refused_claim,
)
from wonderq.client.failures import MOST_BYTES, Failure, error_fields

EACH = [
    Unreachable("no answer", outcome_unknown=True),
    refused(429, "too_many_requests", "slow down", retry_after_s=3.0),
    refused(400, "invalid_value", "bad", "delay"),
    *(refused(status, "code", "why") for status in (401, 403, 404, 409, 413, 415, 422, 500, 503, 507)),
    refused(409, "stale_receipt", "ended"),
    ClientClosedError(),
]


@pytest.mark.parametrize("error", EACH, ids=lambda each: type(each).__name__)
def test_an_error_survives_pickle_and_copy(error: Exception) -> None:
    error.add_note("in the third line")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_all_errors_that_a_broker_may_cause_are_public_and_in_one_tree() -> None:
    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert ClientClosedError.__bases__ == (RuntimeError,)
    for kind in kinds - {ClientClosedError}:
        assert issubclass(kind, WonderQError)
        assert getattr(wonderq, kind.__name__) is kind
        assert kind in (WonderQError, Unreachable, Refused) or issubclass(kind, Refused)


@pytest.mark.parametrize(
    ("code", "unknown"), [("log_failed", True), ("log_lost", True), ("internal_error", True), ("queue_full", False)]
)
def test_a_refusal_says_whether_anything_may_have_changed(code: str, unknown: bool) -> None:
    assert refused(500, code, "why").outcome_unknown is unknown


def test_the_refusal_of_a_claim_is_as_that_of_a_receive() -> None:
    assert isinstance(refused_claim("too_many_waiting_consumers", "why"), TooMany)
    assert refused_claim("shutting_down", "why").status == 503
    assert type(refused_claim("a_code_of_a_later_version", "why")) is Refused


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_failure_is_never_larger_than_the_broker_keeps() -> None:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError("ü" * 10_000)

    try:
        deep(300)
    except ValueError as error:
        failure = Failure.of(error)
    fields = error_fields(failure)
    assert sum(len(each.encode()) for each in fields.values()) <= MOST_BYTES
    assert failure.type == "ValueError"
    assert failure.message.startswith("üüü")
    assert failure.message.endswith("...")
    assert failure.traceback.startswith("...")


def test_an_exception_that_cannot_be_written_is_a_failure_too() -> None:
    failure = Failure.of(UnprintableError())
    assert "cannot be written" in failure.message
    assert failure.type.endswith("UnprintableError")


def test_text_that_utf_8_cannot_express_does_not_stop_a_failure() -> None:
    assert error_fields("\ud800") == {"message": "?"}
    assert "?" in error_fields(ValueError("\ud800"))["message"]
