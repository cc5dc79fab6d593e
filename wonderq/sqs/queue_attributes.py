"""Attributes of a queue in SQS, and the broker's settings that they stand for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from wonderq.model.messages import QueueInfo
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.sqs.errors import SqsError, invalid
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import arn_of
from wonderq.sqs.policies import check_redrive_allow, invalid_value, json_object, read_redrive

#: Attributes that only FIFO queues have.
_FIFO_ONLY = ("FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
#: Stored attributes that are absent from responses while unset.
_SHOWN_IF_SET = (
    "Policy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
)

#: Length of an attribute that is stored as given and is not a policy.
_MAX_CHARACTERS = 2048

_WHOLE = re.compile("[0-9]{1,12}")
_BOOLEANS = {"true": True, "false": False}


# Parsers of one attribute: name, value and limits to the value of a setting


def _number(attribute: str, value: str, limits: SqsLimits) -> int:
    least, most = {
        "DelaySeconds": (0, limits.delay_s),
        "MaximumMessageSize": (limits.least_max_message_bytes, limits.message_bytes),
        "MessageRetentionPeriod": (limits.least_retention_s, limits.most_retention_s),
        "ReceiveMessageWaitTimeSeconds": (0, limits.wait_s),
        "VisibilityTimeout": (0, limits.visibility_timeout_s),
        "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    }[attribute]
    if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
        raise invalid_value(attribute, f"Must be an integer from {least} to {most}.")
    return int(value)


def _milliseconds(attribute: str, value: str, limits: SqsLimits) -> int:
    return _number(attribute, value, limits) * 1000


def _message_bytes(attribute: str, value: str, limits: SqsLimits) -> int:
    size = _number(attribute, value, limits)
    return 0 if size == limits.message_bytes else size


def _boolean(attribute: str, value: str, _limits: SqsLimits) -> bool:
    if value.lower() not in _BOOLEANS:
        raise invalid_value(attribute, "Must be true or false.")
    return _BOOLEANS[value.lower()]


def _scope(attribute: str, value: str, _limits: SqsLimits) -> bool:
    if value not in ("queue", "messageGroup"):
        raise invalid_value(attribute, "Must be queue or messageGroup.")
    return value == "messageGroup"


#: Attributes with a setting of the broker: attribute to setting and parser. `RedrivePolicy` has two settings.
_SETTINGS: dict[str, tuple[str, Callable[[str, str, SqsLimits], Any]]] = {
    "DelaySeconds": ("delay_ms", _milliseconds),
    "MaximumMessageSize": ("max_message_bytes", _message_bytes),
    "MessageRetentionPeriod": ("retention_ms", _milliseconds),
    "VisibilityTimeout": ("visibility_timeout_ms", _milliseconds),
    "ContentBasedDeduplication": ("content_deduplication", _boolean),
    "DeduplicationScope": ("deduplication_per_group", _scope),
}


# Checks of one attribute that is stored as given: name, value and limits


def _check_fifo_queue(attribute: str, value: str, _limits: SqsLimits) -> None:
    if value.lower() != "true":
        raise invalid_value(attribute, "Modifying queue type is not supported.")


def _check_throughput_limit(attribute: str, value: str, _limits: SqsLimits) -> None:
    if value not in ("perQueue", "perMessageGroupId"):
        raise invalid_value(attribute, "Must be perQueue or perMessageGroupId.")


def _check_policy(attribute: str, value: str, _limits: SqsLimits) -> None:
    if value:
        json_object(attribute, value)


def _check_redrive_allow(_attribute: str, value: str, _limits: SqsLimits) -> None:
    if value:
        check_redrive_allow(value)


def _check_length(attribute: str, value: str, _limits: SqsLimits) -> None:
    if len(value) > _MAX_CHARACTERS:
        raise invalid_value(attribute, f"Must have at most {_MAX_CHARACTERS} characters.")


def _check_optional_number(attribute: str, value: str, limits: SqsLimits) -> None:
    if value:
        _number(attribute, value, limits)


#: Attributes without a setting of the broker: attribute to check. The value is stored under the setting ``sqs`` and
#: returned. Most have no effect: the broker encrypts nothing, and keys take the place of policies.
_STORED: dict[str, Callable[[str, str, SqsLimits], object]] = {
    "ReceiveMessageWaitTimeSeconds": _number,
    "Policy": _check_policy,
    "RedriveAllowPolicy": _check_redrive_allow,
    "KmsMasterKeyId": _check_length,
    "KmsDataKeyReusePeriodSeconds": _check_optional_number,
    "SqsManagedSseEnabled": _boolean,
    "FifoQueue": _check_fifo_queue,
    "FifoThroughputLimit": _check_throughput_limit,
}

SETTABLE = (*_SETTINGS, *_STORED, "RedrivePolicy")
"""Attributes that clients can set."""
READ_ONLY = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
)
"""Attributes that clients can only read."""


def to_settings(name: str, given: Mapping[str, str], limits: SqsLimits) -> dict[str, Any]:
    """Return the settings that attributes stand for. Attributes that only SQS has are under ``sqs``.

    Raises:
        SqsError: an attribute is unknown, or its value is invalid.
    """
    settings: dict[str, Any] = {}
    stored: dict[str, str] = {}
    for attribute, value in given.items():
        _check_attribute(name, attribute, value)
        if attribute == "RedrivePolicy":
            settings.update(_redrive(name, value, limits.receives))
        elif attribute in _SETTINGS:
            setting, parse = _SETTINGS[attribute]
            settings[setting] = parse(attribute, value, limits)
        else:
            _STORED[attribute](attribute, value, limits)
            # The queue's name says whether it is FIFO, and an empty reuse period leaves the current one.
            if attribute != "FifoQueue" and (value or attribute != "KmsDataKeyReusePeriodSeconds"):
                stored[attribute] = value
    if stored.get("KmsMasterKeyId") and stored.get("SqsManagedSseEnabled", "").lower() == "true":
        text = "You can use one type of server-side encryption (SSE) at one time."
        raise SqsError("InvalidAttributeName", f"{text} You can either enable KMS SSE or SQS SSE.")
    if stored:
        settings["sqs"] = stored
    return settings


def _check_attribute(name: str, attribute: str, value: object) -> None:
    if attribute not in SETTABLE:
        raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute[:200]}.")
    if not isinstance(value, str):
        raise invalid_value(attribute, "Must be a string.")
    if attribute in _FIFO_ONLY and not name.endswith(FIFO_SUFFIX):
        raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute}. Only FIFO queues have it.")


def _redrive(name: str, value: str, most: int) -> dict[str, Any]:
    if not value:
        return {"max_receives": 0, "dead_letter_queue": ""}
    receives, target = read_redrive(value, most)
    if target.endswith(FIFO_SUFFIX) != name.endswith(FIFO_SUFFIX):
        raise invalid("RedrivePolicy", value, "Dead-letter queue must be same type of queue as the source.")
    return {"max_receives": receives, "dead_letter_queue": target}


def merged(current: QueueSettings, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return new settings of a queue, merged with the attributes that it has stored and with the time of the change.

    Raises:
        SqsError: the attributes contradict each other.
    """
    given = settings.get("sqs", {})
    stored = {**current.sqs, **given}
    if given.get("KmsMasterKeyId"):  # one kind of encryption replaces the other
        stored.pop("SqsManagedSseEnabled", None)
    elif given.get("SqsManagedSseEnabled", "").lower() == "true":
        stored.pop("KmsMasterKeyId", None)
    per_group = settings.get("deduplication_per_group", current.deduplication_per_group)
    if stored.get("FifoThroughputLimit") == "perMessageGroupId" and not per_group:
        reason = "perMessageGroupId requires the DeduplicationScope messageGroup."
        raise invalid("FifoThroughputLimit", "perMessageGroupId", reason)
    stored["LastModifiedTimestamp"] = str(int(time.time()))
    return {**settings, "sqs": {name: value for name, value in stored.items() if value}}


def of_queue(info: QueueInfo, region: str, limits: SqsLimits) -> dict[str, str]:
    """Return all attributes of a queue. Unset ones have the defaults of SQS, or are absent where SQS omits them."""
    settings, sqs = info.settings, info.settings.sqs
    created_s = info.created_ms // 1000
    attributes = {
        "ApproximateNumberOfMessages": str(info.counts["unprocessed"]),
        "ApproximateNumberOfMessagesDelayed": str(info.counts["delayed"]),
        "ApproximateNumberOfMessagesNotVisible": str(info.counts["processing"]),
        "CreatedTimestamp": str(created_s),
        "LastModifiedTimestamp": sqs.get("LastModifiedTimestamp", str(created_s)),
        "DelaySeconds": str(settings.delay_ms // 1000),
        "MaximumMessageSize": str(settings.max_message_bytes or limits.message_bytes),
        "MessageRetentionPeriod": str(settings.retention_ms // 1000),
        "QueueArn": arn_of(region, info.name),
        "ReceiveMessageWaitTimeSeconds": sqs.get("ReceiveMessageWaitTimeSeconds", "0"),
        "VisibilityTimeout": str(settings.visibility_timeout_ms // 1000),
        "SqsManagedSseEnabled": sqs.get("SqsManagedSseEnabled", "false"),
        **{name: sqs[name] for name in _SHOWN_IF_SET if sqs.get(name)},
    }
    if settings.dead_letter_queue and settings.max_receives:
        policy = {
            "deadLetterTargetArn": arn_of(region, settings.dead_letter_queue),
            "maxReceiveCount": settings.max_receives,
        }
        attributes["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
    if info.name.endswith(FIFO_SUFFIX):
        attributes |= {
            "FifoQueue": "true",
            "ContentBasedDeduplication": str(settings.content_deduplication).lower(),
            "DeduplicationScope": "messageGroup" if settings.deduplication_per_group else "queue",
            "FifoThroughputLimit": sqs.get("FifoThroughputLimit", "perQueue"),
        }
    return attributes
