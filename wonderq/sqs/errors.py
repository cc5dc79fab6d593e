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


class SqsError(Exception):
    """A request failed."""

    def __init__(self, name: str, message: str, status: int = 400) -> None:
        """``name`` is the name in the JSON protocol."""
        super().__init__(message)
        self.name = name
        self.status = status

    @property
    def code(self) -> str:
        """The code in the query protocol."""
        return CODES.get(self.name, self.name)

    @property
    def is_senders_fault(self) -> bool:
        """Whether the client caused the error."""
        return self.status < 500


def invalid(parameter: str, value: object, reason: str) -> SqsError:
    """Return the error for an invalid value of a parameter."""
    text = f"Value {str(value)[:100]} for parameter {parameter} is invalid. Reason: {reason}"
    return SqsError("InvalidParameterValue", text)


def missing(parameter: str) -> SqsError:
    """Return the error for a missing parameter."""
    return SqsError("MissingParameter", f"The request must contain the parameter {parameter}.")


def no_such_queue() -> SqsError:
    """Return the error for a queue that does not exist."""
    return SqsError("QueueDoesNotExist", "The specified queue does not exist.")


#: Names of the broker's and storage's errors in SQS, with the broker's message. All others are `InvalidParameterValue`.
_NAMES: dict[type[Exception], str] = {
    errors.NotClaimedError: "MessageNotInflight",
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
        case errors.StaleReceiptError() | errors.MessageNotFoundError():
            reason = "Message does not exist or is not available for visibility timeout change."
            return SqsError("InvalidParameterValue", f"Value for parameter ReceiptHandle is invalid. Reason: {reason}")
        case errors.InvalidValueError(field="receipt"):
            return SqsError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        case _ if type(error) in _NAMES:
            return SqsError(_NAMES[type(error)], str(error))
        case wonderq_storage.StorageError() | errors.ShuttingDownError():
            return SqsError("ServiceUnavailable", str(error), 503)
    return SqsError("InvalidParameterValue", str(error))
