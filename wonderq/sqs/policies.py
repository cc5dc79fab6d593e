"""Policies, which SQS writes as JSON: where dead letters go, who may send theirs, and whom permissions are for.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from wonderq.sqs.errors import SqsError, invalid
from wonderq.sqs.names import ACCOUNT, name_in_arn

MAX_POLICY_CHARACTERS = 16_384
"""Of any policy as text: all settings of a queue stand in one record."""

_DEFAULT_RECEIVES = 10
_MAX_SOURCES = 10
_MAX_ACTIONS = 7
_WHOLE = re.compile(r"[0-9]{1,9}")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}")
_AWS_ACCOUNT = re.compile(r"[0-9]{12}")

#: What `AddPermission` takes.
_ACTIONS = frozenset(
    (
        "*",
        "SendMessage",
        "ReceiveMessage",
        "DeleteMessage",
        "ChangeMessageVisibility",
        "GetQueueAttributes",
        "GetQueueUrl",
    )
)


class Redrive(NamedTuple):
    """A redrive policy: after how many receives a message is a dead letter, and where it goes then."""

    receives: int
    queue: str


def invalid_value(attribute: str, value: object) -> SqsError:
    return SqsError("InvalidAttributeValue", f"Invalid value for the parameter {attribute}: {str(value)[:200]!r}.")


def json_object(attribute: str, value: str) -> dict[str, Any]:
    """Return the JSON object that an attribute's value is.

    Raises:
        SqsError: it is none, or too long.
    """
    try:
        found = json.loads(value) if len(value) <= MAX_POLICY_CHARACTERS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid_value(attribute, value)
    return found


def read_redrive(value: str, most: int) -> Redrive:
    """Read a ``RedrivePolicy``, whose count may be a number or text, up to ``most``.

    Raises:
        SqsError: it is malformed.
    """
    policy = json_object("RedrivePolicy", value)
    receives = policy.get("maxReceiveCount", _DEFAULT_RECEIVES)
    if isinstance(receives, str) and _WHOLE.fullmatch(receives):
        receives = int(receives)
    is_number = isinstance(receives, int) and not isinstance(receives, bool)
    if "deadLetterTargetArn" not in policy or not is_number or not 1 <= receives <= most:
        raise invalid_value("RedrivePolicy", value)
    return Redrive(receives, name_in_arn(policy["deadLetterTargetArn"], "RedrivePolicy"))


def check_redrive_allow(value: str) -> None:
    """Check a ``RedriveAllowPolicy``.

    Raises:
        SqsError: it is malformed.
    """
    policy = json_object("RedriveAllowPolicy", value)
    permission, sources = policy.get("redrivePermission"), policy.get("sourceQueueArns")
    by_queue = permission == "byQueue"
    if permission not in ("allowAll", "denyAll", "byQueue") or by_queue != (sources is not None):
        raise invalid_value("RedriveAllowPolicy", value)
    if by_queue:
        if not isinstance(sources, list) or not 1 <= len(sources) <= _MAX_SOURCES:
            raise invalid_value("RedriveAllowPolicy", value)
        for each in sources:
            name_in_arn(each, "RedriveAllowPolicy")


def allows_redrive(value: str, source: str) -> bool:
    """Tell whether a queue with this ``RedriveAllowPolicy``, or none, takes the dead letters of another."""
    policy = json.loads(value) if value else {}
    permission = policy.get("redrivePermission", "allowAll")
    if permission == "byQueue":
        return any(name_in_arn(each, "RedriveAllowPolicy") == source for each in policy["sourceQueueArns"])
    return bool(permission == "allowAll")


# Permissions: statements of a queue's policy


def with_permission(policy: str, label: str, accounts: Sequence[str], actions: Sequence[str], arn: str) -> str:
    """Return a queue's policy with one statement more, called ``label``.

    Raises:
        SqsError: something is not valid, or there is one of this name.
    """
    if not _LABEL.fullmatch(label):
        raise invalid("Label", label, "It has 1 to 80 of A-Z a-z 0-9 _ and -.")
    if len(actions) > _MAX_ACTIONS:
        raise SqsError("OverLimit", f"{len(actions)} Actions were found, maximum allowed is {_MAX_ACTIONS}.")
    for action in actions:
        if action not in _ACTIONS:
            raise invalid("ActionName", action, f"It can be {', '.join(sorted(_ACTIONS))}.")
    for account in accounts:
        if not _AWS_ACCOUNT.fullmatch(account):
            raise invalid("AWSAccountId", account, "It has 12 digits.")
    found, statements = _statements(policy)
    if any(each.get("Sid") == label for each in statements):
        raise invalid("Label", label, "Already exists.")
    statement = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]},
        "Action": [f"SQS:{action}" for action in actions],
        "Resource": arn,
    }
    text = _write({**found, "Statement": [*statements, statement]})
    if len(text) > MAX_POLICY_CHARACTERS:
        raise SqsError("OverLimit", f"The policy would have more than {MAX_POLICY_CHARACTERS} characters.")
    return text


def without_permission(policy: str, label: str) -> str:
    """Return a queue's policy without the statement of that name; empty if none is left.

    Raises:
        SqsError: there is none.
    """
    found, statements = _statements(policy)
    left = [each for each in statements if each.get("Sid") != label]
    if len(left) == len(statements):
        raise invalid("Label", label, "Can't find label on existing policy.")
    return _write({**found, "Statement": left}) if left else ""


def _statements(policy: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a policy, and its statements, of which one may stand without a list."""
    new: dict[str, Any] = {"Version": "2012-10-17", "Id": f"{ACCOUNT}/SQSDefaultPolicy"}
    found = json_object("Policy", policy) if policy else new
    statements: Any = found.get("Statement", [])
    if not isinstance(statements, list):
        statements = [statements]
    if not all(isinstance(each, dict) for each in statements):
        raise SqsError("UnsupportedOperation", "The queue's Policy has a Statement that is no object. Set it anew.")
    return found, statements


def _write(policy: dict[str, Any]) -> str:
    return json.dumps(policy, separators=(",", ":"))
