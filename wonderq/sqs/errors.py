"""What SQS refuses, by the names that its clients know."""

from __future__ import annotations

import wonderq_storage
from wonderq.model import errors

_PREFIX = "AWS.SimpleQueueService."

#: By the name of an error in the JSON protocol, its code in the older one, which SDKs report.
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
    """A request that is refused."""

    def __init__(self, name: str, message: str, status: int = 400) -> None:
        """``name`` is that of the JSON protocol."""
        super().__init__(message)
        self.name = name
        self.status = status

    @property
    def code(self) -> str:
        """Of the older protocol."""
        return CODES.get(self.name, self.name)

    @property
    def is_senders_fault(self) -> bool:
        return self.status < 500


def invalid(parameter: str, value: object, reason: str) -> SqsError:
    """Return the error for a value that a parameter cannot have."""
    text = f"Value {str(value)[:100]} for parameter {parameter} is invalid. Reason: {reason}"
    return SqsError("InvalidParameterValue", text)


def missing(parameter: str) -> SqsError:
    return SqsError("MissingParameter", f"The request must contain the parameter {parameter}.")


def no_such_queue() -> SqsError:
    return SqsError("QueueDoesNotExist", "The specified queue does not exist.")


_OVER_LIMIT = (
    errors.TooManyInFlightError,
    errors.TooManyKeysError,
    errors.TooManyQueuesError,
    errors.QueueFullError,
    errors.BrokerFullError,
)


def from_broker(error: Exception) -> SqsError:
    """Return what a refusal of the broker, or of its log, is called in SQS."""
    text = str(error)
    match error:
        case errors.QueueNotFoundError():
            return no_such_queue()
        case errors.StaleReceiptError() | errors.MessageNotFoundError():
            reason = "Message does not exist or is not available for visibility timeout change."
            return SqsError("InvalidParameterValue", f"Value for parameter ReceiptHandle is invalid. Reason: {reason}")
        case errors.NotClaimedError():
            return SqsError("MessageNotInflight", text)
        case errors.BatchTooLargeError():
            return SqsError("BatchRequestTooLong", text)
        case errors.TooManyWaitingError():
            return SqsError("RequestThrottled", text)
        case errors.QueueDrainingError() | errors.DefaultQueueError():
            return SqsError("UnsupportedOperation", text)
        case errors.InvalidValueError(field="receipt"):
            return SqsError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        case wonderq_storage.RecordTooLargeError():
            return SqsError("BatchRequestTooLong", text)
        case wonderq_storage.StorageError() | errors.ShuttingDownError():
            return SqsError("ServiceUnavailable", text, 503)
        case _ if isinstance(error, _OVER_LIMIT):
            return SqsError("OverLimit", text)
    return SqsError("InvalidParameterValue", text)
