"""A queue's attributes, as SQS has them, and the settings that the broker has for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from wonderq.model import QueueInfo
from wonderq.settings import FIFO_SUFFIX
from wonderq.sqs.errors import SqsError
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import arn_of, name_in_arn

DEFAULT_RETENTION_S = 345_600

#: Kept as they were given, and given back: nobody here encrypts, or asks a policy.
_KEPT = ("Policy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled")
_OF_FIFO = ("FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
_NUMBERS = (
    "DelaySeconds",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout",
)
SETTABLE = (*_NUMBERS, *_KEPT, "RedrivePolicy", *_OF_FIFO)
READ_ONLY = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
)

_WHOLE = re.compile(r"\d{1,12}")
_BOOLEANS = {"true": True, "false": False}


def _invalid(name: str, value: object) -> SqsError:
    return SqsError("InvalidAttributeValue", f"Invalid value for the parameter {name}: {str(value)[:200]!r}.")


def to_settings(name: str, given: Mapping[str, str], limits: SqsLimits, *, is_new: bool) -> dict[str, Any]:
    """Return the settings that attributes mean; what only SQS has of them under ``sqs``.

    Raises:
        SqsError: an attribute is not known, or its value is not valid.
    """
    settings: dict[str, Any] = {}
    kept: dict[str, str] = {}
    ranges = {
        "DelaySeconds": (0, limits.delay_s),
        "MaximumMessageSize": (1024, limits.message_bytes),
        "MessageRetentionPeriod": (limits.least_retention_s, limits.most_retention_s),
        "ReceiveMessageWaitTimeSeconds": (0, limits.wait_s),
        "VisibilityTimeout": (0, limits.visibility_timeout_s),
        "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    }
    for attribute, value in given.items():
        if attribute not in SETTABLE or (attribute == "FifoQueue" and not is_new):
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute[:200]}.")
        if not isinstance(value, str):
            raise _invalid(attribute, value)
        if attribute in _OF_FIFO and not name.endswith(FIFO_SUFFIX):
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute}: it is of FIFO queues.")
        if attribute in ranges:
            least, most = ranges[attribute]
            if value == "" and attribute == "KmsDataKeyReusePeriodSeconds":
                continue
            if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
                raise _invalid(attribute, value)
        match attribute:
            case "DelaySeconds":
                settings["delay_ms"] = int(value) * 1000
            case "MaximumMessageSize":
                settings["max_message_bytes"] = 0 if int(value) == limits.message_bytes else int(value)
            case "MessageRetentionPeriod":
                settings["retention_ms"] = int(value) * 1000
            case "VisibilityTimeout":
                settings["visibility_timeout_ms"] = int(value) * 1000
            case "RedrivePolicy":
                settings.update(_redrive(name, value))
            case "ContentBasedDeduplication":
                settings["content_deduplication"] = _boolean(attribute, value)
            case "FifoQueue":
                if value != "true":
                    raise _invalid(attribute, value)
            case "DeduplicationScope":
                if value not in ("queue", "messageGroup"):
                    raise _invalid(attribute, value)
                settings["deduplication_per_group"] = value == "messageGroup"
            case "FifoThroughputLimit":
                if value not in ("perQueue", "perMessageGroupId"):
                    raise _invalid(attribute, value)
                kept[attribute] = value
            case _:
                kept[attribute] = _checked(attribute, value)
    if kept:
        settings["sqs"] = kept
    return settings


def _boolean(attribute: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise _invalid(attribute, value)
    return _BOOLEANS[value.lower()]


def _checked(attribute: str, value: str) -> str:
    """Return an attribute that is only kept."""
    if attribute == "SqsManagedSseEnabled":
        _boolean(attribute, value)
    if attribute in ("Policy", "RedriveAllowPolicy") and value:
        _object(attribute, value)
    return value


def _object(attribute: str, value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError as error:
        raise _invalid(attribute, value) from error
    if not isinstance(found, dict):
        raise _invalid(attribute, value)
    return found


def _redrive(name: str, value: str) -> dict[str, Any]:
    if value == "":
        return {"max_receives": 0, "dead_letter_queue": ""}
    policy = _object("RedrivePolicy", value)
    most = policy.get("maxReceiveCount", 10)
    if isinstance(most, str) and _WHOLE.fullmatch(most):
        most = int(most)
    if (
        "deadLetterTargetArn" not in policy
        or isinstance(most, bool)
        or not isinstance(most, int)
        or not 1 <= most <= 1000
    ):
        raise _invalid("RedrivePolicy", value)
    target = name_in_arn(policy["deadLetterTargetArn"], "RedrivePolicy")
    if target.endswith(FIFO_SUFFIX) != name.endswith(FIFO_SUFFIX):
        raise SqsError(
            "InvalidParameterValue",
            "Value for parameter RedrivePolicy is invalid. Reason: Dead-letter target is of another type.",
        )
    return {"max_receives": most, "dead_letter_queue": target}


def of_queue(info: QueueInfo, region: str, limits: SqsLimits) -> dict[str, str]:
    """Return all attributes of a queue; those that are not set have SQS' defaults, or are left out where SQS does."""
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
        **{name: sqs[name] for name in _KEPT if sqs.get(name)},
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
