"""A queue's attributes, as SQS has them, and the settings that the broker has for them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from wonderq.model.messages import QueueInfo
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.sqs.errors import SqsError, invalid
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import arn_of
from wonderq.sqs.policies import check_redrive_allow, invalid_value, json_object, read_redrive

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

#: Of what is kept and is no policy.
_MAX_CHARACTERS = 2048

_WHOLE = re.compile("[0-9]{1,12}")
_BOOLEANS = {"true": True, "false": False}


def to_settings(name: str, given: Mapping[str, str], limits: SqsLimits, *, is_new: bool) -> dict[str, Any]:
    """Return the settings that attributes mean; what only SQS has of them under ``sqs``.

    Raises:
        SqsError: an attribute is not known, or its value is not valid.
    """
    settings: dict[str, Any] = {}
    kept: dict[str, str] = {}
    ranges = {
        "DelaySeconds": (0, limits.delay_s),
        "MaximumMessageSize": (limits.least_max_message_bytes, limits.message_bytes),
        "MessageRetentionPeriod": (limits.least_retention_s, limits.most_retention_s),
        "ReceiveMessageWaitTimeSeconds": (0, limits.wait_s),
        "VisibilityTimeout": (0, limits.visibility_timeout_s),
        "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    }
    for attribute, value in given.items():
        if attribute not in SETTABLE or (attribute == "FifoQueue" and not is_new):
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute[:200]}.")
        if not isinstance(value, str):
            raise invalid_value(attribute, value)
        if attribute in _OF_FIFO and not name.endswith(FIFO_SUFFIX):
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {attribute}: it is of FIFO queues.")
        if attribute in ranges:
            least, most = ranges[attribute]
            if value == "" and attribute == "KmsDataKeyReusePeriodSeconds":
                continue
            if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
                raise invalid_value(attribute, value)
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
                settings.update(_redrive(name, value, limits.receives))
            case "ContentBasedDeduplication":
                settings["content_deduplication"] = _boolean(attribute, value)
            case "FifoQueue":
                if value != "true":
                    raise invalid_value(attribute, value)
            case "DeduplicationScope":
                if value not in ("queue", "messageGroup"):
                    raise invalid_value(attribute, value)
                settings["deduplication_per_group"] = value == "messageGroup"
            case "FifoThroughputLimit":
                if value not in ("perQueue", "perMessageGroupId"):
                    raise invalid_value(attribute, value)
                kept[attribute] = value
            case _:
                kept[attribute] = _checked(attribute, value)
    if kept:
        settings["sqs"] = kept
    return settings


def _boolean(attribute: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise invalid_value(attribute, value)
    return _BOOLEANS[value.lower()]


def _checked(attribute: str, value: str) -> str:
    """Return an attribute that is only kept."""
    if attribute == "SqsManagedSseEnabled":
        _boolean(attribute, value)
    elif attribute == "RedriveAllowPolicy" and value:
        check_redrive_allow(value)
    elif attribute == "Policy" and value:
        json_object(attribute, value)
    elif len(value) > _MAX_CHARACTERS:
        raise invalid_value(attribute, value)
    return value


def _redrive(name: str, value: str, most: int) -> dict[str, Any]:
    if not value:
        return {"max_receives": 0, "dead_letter_queue": ""}
    receives, target = read_redrive(value, most)
    if target.endswith(FIFO_SUFFIX) != name.endswith(FIFO_SUFFIX):
        raise invalid("RedrivePolicy", value, "The dead-letter queue has to be of the same type as its source.")
    return {"max_receives": receives, "dead_letter_queue": target}


def merged(there: QueueSettings, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings to put for a queue that has some: with what only SQS has of both, and the time.

    Raises:
        SqsError: they do not fit together.
    """
    kept = {**there.sqs, **settings.get("sqs", {})}
    per_group = settings.get("deduplication_per_group", there.deduplication_per_group)
    if kept.get("FifoThroughputLimit") == "perMessageGroupId" and not per_group:
        reason = "perMessageGroupId needs a DeduplicationScope of messageGroup."
        raise invalid("FifoThroughputLimit", "perMessageGroupId", reason)
    kept["LastModifiedTimestamp"] = str(int(time.time()))
    return {**settings, "sqs": {name: value for name, value in kept.items() if value}}


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
