"""Policies of topics: stored and returned, but not evaluated, because keys control access.

https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-language-api-permissions-reference.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wonderq.model.unicode import load_json
from wonderq.sns.errors import invalid, shown
from wonderq.sqs.names import ACCOUNT
from wonderq.sqs.policies import AWS_ACCOUNT, LABEL, new_statement, write_policy

#: Actions that a policy may permit, as AWS writes them by default.
_DEFAULT_ACTIONS = (
    "GetTopicAttributes",
    "SetTopicAttributes",
    "AddPermission",
    "RemovePermission",
    "DeleteTopic",
    "Subscribe",
    "ListSubscriptionsByTopic",
    "Publish",
)
_ACTIONS = frozenset((*_DEFAULT_ACTIONS, "ListTagsForResource", "TagResource", "UntagResource", "*"))
MAX_CHARACTERS = 256 << 10
"""Longest policy of any kind as text. It is decoded in one step."""


def json_object(attribute: str, value: str) -> dict[str, Any]:
    """Parse the value of an attribute as a JSON object.

    Raises:
        SnsError: it is none.
    """
    try:
        found = load_json(value) if len(value) <= MAX_CHARACTERS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid(
            f"{attribute}: failed to parse JSON. Send a JSON object of at most {MAX_CHARACTERS} "
            "characters, without lone surrogates."
        )
    return found


def default_policy(arn: str) -> str:
    """Return the policy of a topic that has none of its own: its owner may do everything."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{action}" for action in _DEFAULT_ACTIONS],
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT}},
    }
    return write_policy({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def with_permission(policy: str, label: str, accounts: Sequence[str], actions: Sequence[str], arn: str) -> str:
    """Return a topic's policy with another statement, named ``label``.

    Raises:
        SnsError: a parameter is invalid, or the label is in use.
    """
    if not LABEL.fullmatch(label):
        raise invalid("Label", "It must have 1 to 80 of A-Z a-z 0-9 _ and -.")
    if not accounts or not all(map(AWS_ACCOUNT.fullmatch, accounts)):
        raise invalid("AWSAccountId", "It must be a list of numbers of 12 digits.")
    unknown = [each for each in actions if each not in _ACTIONS]
    if not actions or unknown:
        reason = f"{shown(unknown[0])} is not an action of a policy; " if unknown else ""
        raise invalid("ActionName", f"{reason}Use one of {', '.join(sorted(_ACTIONS))}.")
    found, statements = _statements(policy, arn)
    if any(each.get("Sid") == label for each in statements):
        raise invalid("Label", "Statement already exists. Choose another label, or remove the statement first.")
    statement = new_statement(label, accounts, [f"SNS:{action}" for action in actions], arn)
    return write_policy({**found, "Statement": [*statements, statement]})


def without_permission(policy: str, label: str, arn: str) -> str:
    """Return a topic's policy without the statement ``label``. A policy without it stays as it is, as in SNS."""
    found, statements = _statements(policy, arn)
    return write_policy({**found, "Statement": [each for each in statements if each.get("Sid") != label]})


def _statements(policy: str, arn: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a policy and the list of its statements. A policy may have a single statement without a list."""
    found = json_object("Policy", policy or default_policy(arn))
    statements: Any = found.get("Statement", [])
    if not isinstance(statements, list):
        statements = [statements]
    if not all(isinstance(each, dict) for each in statements):
        raise invalid("Policy", "A Statement of the topic's policy is no object. Set the Policy again.")
    return found, statements
