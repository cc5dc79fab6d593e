"""Policies, which SQS writes as JSON: redrive policies, redrive-allow policies, and permissions.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from wonderq.model.unicode import load_json
from wonderq.sqs.errors import SqsError, invalid
from wonderq.sqs.names import name_in_arn

MAX_POLICY_CHARACTERS = 16_384
"""Length of any policy as text. It is limited because one record holds all settings of a queue."""

_DEFAULT_RECEIVES = 10
_MAX_SOURCES = 10
_MAX_ACTIONS = 7
_WHOLE = re.compile(r"[0-9]{1,9}")
LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Name of a statement of a policy."""
AWS_ACCOUNT = re.compile(r"[0-9]{12}")

#: Actions that `AddPermission` accepts.
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
    """A redrive policy: the number of receives until a message is a dead letter, and the dead-letter queue."""

    receives: int
    queue: str


def invalid_value(attribute: str, reason: str) -> SqsError:
    """Return the error for an invalid value of an attribute, in the words of SQS and with a reason."""
    return SqsError("InvalidAttributeValue", f"Invalid value for the parameter {attribute}. Reason: {reason}")


def json_object(attribute: str, value: str) -> dict[str, Any]:
    """Parse the value of an attribute as a JSON object.

    Raises:
        SqsError: it is not a JSON object, or too long.
    """
    try:
        found = load_json(value) if len(value) <= MAX_POLICY_CHARACTERS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid_value(
            attribute, f"Must be a JSON object of at most {MAX_POLICY_CHARACTERS} characters, without lone surrogates."
        )
    return found


def read_redrive(value: str, most: int) -> Redrive:
    """Parse a ``RedrivePolicy``. Its count may be a number or a string, up to ``most``.

    Raises:
        SqsError: it is malformed.
    """
    policy = json_object("RedrivePolicy", value)
    receives = policy.get("maxReceiveCount", _DEFAULT_RECEIVES)
    if isinstance(receives, str) and _WHOLE.fullmatch(receives):
        receives = int(receives)
    is_number = isinstance(receives, int) and not isinstance(receives, bool)
    if "deadLetterTargetArn" not in policy or not is_number or not 1 <= receives <= most:
        reason = f"Must have a deadLetterTargetArn, and a maxReceiveCount that is an integer from 1 to {most}."
        raise invalid_value("RedrivePolicy", reason)
    return Redrive(receives, name_in_arn(policy["deadLetterTargetArn"], "RedrivePolicy"))


def check_redrive_allow(value: str) -> None:
    """Validate a ``RedriveAllowPolicy``.

    Raises:
        SqsError: it is malformed.
    """
    policy = json_object("RedriveAllowPolicy", value)
    permission, sources = policy.get("redrivePermission"), policy.get("sourceQueueArns")
    by_queue = permission == "byQueue"
    if permission not in ("allowAll", "denyAll", "byQueue") or by_queue != (sources is not None):
        reason = "redrivePermission must be allowAll, denyAll or byQueue; only byQueue needs sourceQueueArns."
        raise invalid_value("RedriveAllowPolicy", reason)
    if by_queue:
        if not isinstance(sources, list) or not 1 <= len(sources) <= _MAX_SOURCES:
            raise invalid_value("RedriveAllowPolicy", f"sourceQueueArns must list 1 to {_MAX_SOURCES} queues.")
        for each in sources:
            name_in_arn(each, "RedriveAllowPolicy")


def allows_redrive(value: str, source: str) -> bool:
    """Return whether a queue with this ``RedriveAllowPolicy``, or with none, accepts the dead letters of another."""
    policy = json.loads(value) if value else {}
    permission = policy.get("redrivePermission", "allowAll")
    if permission == "byQueue":
        return any(name_in_arn(each, "RedriveAllowPolicy") == source for each in policy["sourceQueueArns"])
    return bool(permission == "allowAll")


# Permissions: statements of a queue's policy


def with_permission(policy: str, label: str, accounts: Sequence[str], actions: Sequence[str], arn: str) -> str:
    """Return a queue's policy with another statement, named ``label``.

    Raises:
        SqsError: a parameter is invalid, the label is in use, or the policy would be too long.
    """
    if not LABEL.fullmatch(label):
        raise invalid("Label", label, "It must have 1 to 80 of A-Z a-z 0-9 _ and -.")
    if len(actions) > _MAX_ACTIONS:
        raise SqsError("OverLimit", f"{len(actions)} Actions were found, maximum allowed is {_MAX_ACTIONS}.")
    for action in actions:
        if action not in _ACTIONS:
            raise invalid("ActionName", action, f"It must be one of {', '.join(sorted(_ACTIONS))}.")
    for account in accounts:
        if not AWS_ACCOUNT.fullmatch(account):
            raise invalid("AWSAccountId", account, "It must have 12 digits.")
    found, statements = _statements(policy, arn)
    if any(each.get("Sid") == label for each in statements):
        raise invalid("Label", label, "Already exists.")
    statement = new_statement(label, accounts, [f"SQS:{action}" for action in actions], arn)
    text = write_policy({**found, "Statement": [*statements, statement]})
    if len(text) > MAX_POLICY_CHARACTERS:
        raise SqsError("OverLimit", f"The policy would be longer than {MAX_POLICY_CHARACTERS} characters.")
    return text


def without_permission(policy: str, label: str, arn: str) -> str:
    """Return a queue's policy without the statement ``label``; empty if no statement is left.

    Raises:
        SqsError: the policy has no such statement.
    """
    found, statements = _statements(policy, arn)
    left = [each for each in statements if each.get("Sid") != label]
    if len(left) == len(statements):
        raise invalid("Label", label, "Can't find label on existing policy.")
    return write_policy({**found, "Statement": left}) if left else ""


def new_statement(label: str, accounts: Sequence[str], actions: Sequence[str], arn: str) -> dict[str, Any]:
    """Return a statement of a policy that permits accounts to carry out actions, as AWS writes it."""
    return {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_all([f"arn:aws:iam::{account}:root" for account in accounts])},
        "Action": _one_or_all(actions),
        "Resource": arn,
    }


def _one_or_all(values: Sequence[str]) -> str | Sequence[str]:
    """Return a value alone if it is the only one, as SQS writes policies."""
    return values[0] if len(values) == 1 else values


def _statements(policy: str, arn: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a policy and the list of its statements. A policy may have a single statement without a list."""
    new: dict[str, Any] = {"Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy"}
    found = json_object("Policy", policy) if policy else new
    statements: Any = found.get("Statement", [])
    if not isinstance(statements, list):
        statements = [statements]
    if not all(isinstance(each, dict) for each in statements):
        raise SqsError(
            "UnsupportedOperation", "The queue's Policy has a Statement that is not an object. Set the Policy again."
        )
    return found, statements


def write_policy(policy: dict[str, Any]) -> str:
    """Return a policy as text."""
    return json.dumps(policy, separators=(",", ":"))
