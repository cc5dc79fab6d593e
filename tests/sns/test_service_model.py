"""Every part of AWS's description of SNS is implemented, or listed with the reason why not."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest

import wonderq.sns
from tests.support.service_models import members, texts_in
from tests.support.sns_clients import Sns
from tests.support.sqs_clients import RefusedError
from wonderq.sns.endpoint import ACTIONS

MODEL: Any = botocore.session.get_session().get_service_model("sns")
OPERATIONS = [MODEL.operation_model(name) for name in sorted(ACTIONS)]

#: Actions that are refused, and what they are about.
REFUSED = {
    **dict.fromkeys(
        (
            "CheckIfPhoneNumberIsOptedOut",
            "CreateSMSSandboxPhoneNumber",
            "DeleteSMSSandboxPhoneNumber",
            "GetSMSAttributes",
            "GetSMSSandboxAccountStatus",
            "ListOriginationNumbers",
            "ListPhoneNumbersOptedOut",
            "ListSMSSandboxPhoneNumbers",
            "OptInPhoneNumber",
            "SetSMSAttributes",
            "VerifySMSSandboxPhoneNumber",
        ),
        "SMS",
    ),
    **dict.fromkeys(
        (
            "CreatePlatformApplication",
            "CreatePlatformEndpoint",
            "DeleteEndpoint",
            "DeletePlatformApplication",
            "GetEndpointAttributes",
            "GetPlatformApplicationAttributes",
            "ListEndpointsByPlatformApplication",
            "ListPlatformApplications",
            "SetEndpointAttributes",
            "SetPlatformApplicationAttributes",
        ),
        "push notifications",
    ),
    **dict.fromkeys(("GetDataProtectionPolicy", "PutDataProtectionPolicy"), "data protection"),
}

#: Members of requests that nothing here reads, and why.
IGNORED: dict[str, str] = {}


@cache
def literals() -> set[str]:
    """Return the texts in the source of the package, and in the attributes of messages that it shares with SQS."""
    folder = Path(wonderq.sns.__file__).parent
    return texts_in((*folder.glob("*.py"), folder.parent / "sqs" / "message_attributes.py"))


def test_every_action_is_there_or_refused() -> None:
    assert set(MODEL.operation_names) == ACTIONS.keys() | REFUSED.keys()
    assert not ACTIONS.keys() & REFUSED.keys()


def sample(shape: Any) -> Any:
    """Return a value that fits a shape, so that boto3 sends it."""
    match shape.type_name:
        case "structure":
            return {name: sample(shape.members[name]) for name in shape.required_members}
        case "list":
            return [sample(shape.member)]
        case "map":
            return {"key": sample(shape.value)}
        case "integer":
            return 1
    return shape.enum[0] if getattr(shape, "enum", None) else "123456"


def test_what_has_no_meaning_is_refused_clearly(sns: Sns) -> None:
    for action, about in sorted(REFUSED.items()):
        shape = MODEL.operation_model(action).input_shape
        with pytest.raises(RefusedError, match=f"It is for {about}") as caught:
            sns(action, **(sample(shape) if shape is not None else {}))
        assert (caught.value.status, caught.value.code) == (400, "InvalidAction")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_member_of_a_request_is_read(operation: Any) -> None:
    assert members(operation.input_shape) - literals() <= IGNORED.keys()


def test_what_is_ignored_is_ignored() -> None:
    assert not IGNORED.keys() & literals()
    assert IGNORED.keys() <= set().union(*(members(each.input_shape) for each in OPERATIONS))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_member_of_an_answer_is_given(operation: Any) -> None:
    assert members(operation.output_shape) - literals() == set()


#: Codes that the model does not have, and why SNS clients know them nevertheless.
_COMMON_CODES = {
    "InvalidAction": "an error of every service",
    "MalformedQueryString": "an error of every service",
    "Throttling": "an error of every service, which SDKs retry",
    "ServiceUnavailable": "an error of every service, which SDKs retry",
    "AccessDenied": "the name in SQS of AuthorizationError",
    "RequestThrottled": "the name in SQS of Throttling",
}


def test_every_code_of_an_error_is_one_of_sns() -> None:
    known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in MODEL.error_shapes}
    folder = Path(wonderq.sns.__file__).parent
    used = {
        node.args[0].value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SnsError"
        if isinstance(node.args[0], ast.Constant)
    }
    assert len(used) > 10
    assert used <= known | _COMMON_CODES.keys()
