"""Errors by the names that SQS clients know."""

from __future__ import annotations

import wonderq_storage
from wonderq.model import errors

_PREFIX = "AWS.SimpleQueueService."

#: Names of errors in the JSON protocol to codes in the query protocol, which SDKs report. Others are the same in both.
CODES = {
    "BatchEntryIdsNotDistinct": f"{_PREFIX}BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": f"{_PREFIX}BatchRequestTooLong",
    "EmptyBatchRequest": f"{_PREFIX}EmptyBatchRequest",
    "InvalidBatchEntryId": f"{_PREFIX}InvalidBatchEntryId",
    "MessageNotInflight": f"{_PREFIX}MessageNotInflight",
    "PurgeQueueInProgress": f"{_PREFIX}PurgeQueueInProgress",
    "QueueDeletedRecently": f"{_PREFIX}QueueDeletedRecently",
    "QueueDoesNotExist": f"{_PREFIX}NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "TooManyEntriesInBatchRequest": f"{_PREFIX}TooManyEntriesInBatchRequest",
    "UnsupportedOperation": f"{_PREFIX}UnsupportedOperation",
}


#: Types of errors in the JSON protocol that differ from the names, which SDKs report as codes. The service model of SQS
#: does not have these errors.
_JSON_TYPES = {
    "InvalidParameterValue": "com.amazon.coral.service#InvalidParameterValueException",
    "MissingParameter": "com.amazonaws.sqs#MissingRequiredParameterException",
}

#: Statuses other than 400: botocore's model of the query protocol (version 1.29), and its list of throttling errors.
_STATUSES = {"OverLimit": 403, "PurgeQueueInProgress": 403, "RequestThrottled": 403, "ResourceNotFoundException": 404}


#: Characters of a value that an error repeats.
_MAX_SHOWN_CHARACTERS = 300


class SqsError(Exception):
    """A request failed."""

    def __init__(self, name: str, message: str, status: int | None = None) -> None:
        """``name`` is the name in the JSON protocol. ``status`` defaults to that of AWS."""
        super().__init__(message)
        self.name = name
        self.status = _STATUSES.get(name, 400) if status is None else status

    @property
    def code(self) -> str:
        """The code in the query protocol."""
        return CODES.get(self.name, self.name)

    @property
    def json_type(self) -> str:
        """The value of ``__type`` in the JSON protocol."""
        return _JSON_TYPES.get(self.name, f"com.amazonaws.sqs#{self.name}")

    @property
    def header(self) -> str:
        """The value of the header ``x-amzn-query-error``, from which SDKs of the JSON protocol take the code."""
        return f"{self.code};{'Sender' if self.is_senders_fault else 'Receiver'}"

    @property
    def is_senders_fault(self) -> bool:
        """Whether the client caused the error."""
        return self.status < 500


def invalid(parameter: str, value: object, reason: str) -> SqsError:
    """Return the error for an invalid value of a parameter."""
    text = f"Value {str(value)[:_MAX_SHOWN_CHARACTERS]} for parameter {parameter} is invalid. Reason: {reason}"
    return SqsError("InvalidParameterValue", text)


def missing(parameter: str) -> SqsError:
    """Return the error for a missing parameter."""
    return SqsError("MissingParameter", f"The request must contain the parameter {parameter}.")


def no_such_queue() -> SqsError:
    """Return the error for a queue that does not exist."""
    return SqsError("QueueDoesNotExist", "The specified queue does not exist.")


#: Names of the broker's and storage's errors in SQS, with the broker's message. All others are `InvalidParameterValue`.
_NAMES: dict[type[Exception], str] = {
    errors.BatchTooLargeError: "BatchRequestTooLong",
    errors.TooManyWaitingError: "RequestThrottled",
    errors.QueueDrainingError: "UnsupportedOperation",
    errors.DefaultQueueError: "UnsupportedOperation",
    errors.TooManyInFlightError: "OverLimit",
    errors.TooManyKeysError: "OverLimit",
    errors.TooManyQueuesError: "OverLimit",
    errors.QueueFullError: "OverLimit",
    errors.BrokerFullError: "OverLimit",
    wonderq_storage.RecordTooLargeError: "BatchRequestTooLong",
}


def from_broker(error: Exception) -> SqsError:
    """Return the error of SQS for an error of the broker or of its log."""
    match error:
        case errors.QueueNotFoundError():
            return no_such_queue()
        case errors.NotPermittedError():
            return SqsError("AccessDenied", str(error), 403)
        case _ if type(error) in _NAMES:
            return SqsError(_NAMES[type(error)], str(error))
        case wonderq_storage.StorageError() | errors.ShuttingDownError() | errors.ShardUnavailableError():
            return SqsError("ServiceUnavailable", str(error), 503)
    return SqsError("InvalidParameterValue", str(error))
