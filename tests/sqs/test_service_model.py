"""Every part of AWS's description of the service is implemented, or listed with the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import pytest

import wonderq.sqs
from tests.support.service_models import members, texts_in
from tests.support.sqs_clients import Sqs
from wonderq.sqs import wire
from wonderq.sqs.endpoint import ACTIONS

MODEL: Any = botocore.session.get_session().get_service_model("sqs")
OPERATIONS = [MODEL.operation_model(name) for name in MODEL.operation_names]

#: Members of requests that nothing here reads, and why.
IGNORED = {
    "QueueOwnerAWSAccountId": "there is one account",
}


def literals() -> set[str]:
    """Return the texts in the source of the package."""
    folder = Path(wonderq.sqs.__file__).parent
    # wire.py only knows how the older protocol names them
    return texts_in(path for path in folder.glob("*.py") if path.name != "wire.py")


def test_every_action_is_there_and_no_other() -> None:
    assert {each.name for each in OPERATIONS} == set(ACTIONS)
    assert len(ACTIONS) == 23


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_member_of_a_request_is_read(operation: Any) -> None:
    assert members(operation.input_shape) - literals() <= IGNORED.keys()


def test_what_is_ignored_is_ignored() -> None:
    assert not IGNORED.keys() & literals()
    assert IGNORED.keys() <= set().union(*(members(each.input_shape) for each in OPERATIONS))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_member_of_an_answer_is_given(operation: Any) -> None:
    assert members(operation.output_shape) - literals() - IGNORED.keys() == set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_list_and_map_has_a_name_in_forms(operation: Any) -> None:
    known = {*wire._LISTS.values(), *(plural for plural, _, _ in wire._MAPS.values()), "tags"}
    assert {
        name
        for name, shape in operation.input_shape.members.items()
        if shape.type_name in ("list", "map") and name not in IGNORED
    } <= known


def test_numbers_in_forms_are_those_of_the_model() -> None:
    def numbers(shape: Any) -> set[str]:
        if shape.type_name == "list":
            return numbers(shape.member)
        if shape.type_name != "structure":
            return set()
        here = {name for name, each in shape.members.items() if each.type_name in ("integer", "long")}
        return here.union(*map(numbers, shape.members.values()))

    assert set(wire._INTEGERS) == set().union(*(numbers(each.input_shape) for each in OPERATIONS))


@pytest.mark.parametrize("shape", ["QueueAttributeName", "MessageSystemAttributeName"])
def test_every_attribute_is_known(sqs: Sqs, queue: str, shape: str) -> None:
    for name in MODEL.shape_for(shape).enum:
        if shape == "QueueAttributeName":
            sqs.boto("GetQueueAttributes", QueueUrl=queue, AttributeNames=[name])
        else:
            sqs.boto("ReceiveMessage", QueueUrl=queue, MessageSystemAttributeNames=[name])
