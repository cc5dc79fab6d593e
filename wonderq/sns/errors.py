"""Errors by the codes that SNS clients know."""

from __future__ import annotations

import wonderq_storage
from wonderq.model import errors
from wonderq.sqs.errors import SqsError

#: Characters of a value that an error repeats.
_MAX_SHOWN_CHARACTERS = 300


class SnsError(Exception):
    """A request failed."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def is_senders_fault(self) -> bool:
        """Whether the client caused the error."""
        return self.status < 500


def invalid(parameter: str, reason: str = "") -> SnsError:
    """Return the error for an invalid parameter, in the words of SNS and with a reason."""
    return SnsError("InvalidParameter", f"Invalid parameter: {parameter}{' Reason: ' if reason else ''}{reason}")


def shown(value: object) -> str:
    """Return a value as part of a sentence."""
    return str(value)[:_MAX_SHOWN_CHARACTERS]


def no_such_topic() -> SnsError:
    """Return the error for a topic that does not exist."""
    return SnsError("NotFound", "Topic does not exist", 404)


def no_such_subscription() -> SnsError:
    """Return the error for a subscription that does not exist."""
    return SnsError("NotFound", "Subscription does not exist", 404)


#: Codes and statuses of the broker's and storage's errors, with the broker's message.
_CODES: dict[type[Exception], tuple[str, int]] = {
    errors.NotPermittedError: ("AuthorizationError", 403),
    errors.TooManyTopicsError: ("TopicLimitExceeded", 403),
    errors.TooManySubscriptionsError: ("SubscriptionLimitExceeded", 403),
    errors.BatchTooLargeError: ("BatchRequestTooLong", 400),
    wonderq_storage.RecordTooLargeError: ("BatchRequestTooLong", 400),
    errors.QueueFullError: ("Throttling", 400),
    errors.BrokerFullError: ("Throttling", 400),
    errors.TooManyKeysError: ("Throttling", 400),
    errors.ShuttingDownError: ("ServiceUnavailable", 503),
    errors.ShardUnavailableError: ("ServiceUnavailable", 503),
}


def from_broker(error: Exception) -> SnsError:
    """Return the error of SNS for an error of the broker or of its log."""
    match error:
        case errors.TopicNotFoundError():
            return no_such_topic()
        case errors.SubscriptionNotFoundError():
            return no_such_subscription()
        case _ if type(error) in _CODES:
            code, status = _CODES[type(error)]
            return SnsError(code, str(error), status)
        case wonderq_storage.StorageError():
            return SnsError("ServiceUnavailable", str(error), 503)
    return invalid(str(error))


#: Codes of SQS that have another name in SNS.
_OF_SQS = {"AccessDenied": "AuthorizationError", "RequestThrottled": "Throttling"}


def from_sqs(error: SqsError) -> SnsError:
    """Return the error of SNS for one of the parts that it shares with SQS: the form, or the signature."""
    return SnsError(_OF_SQS.get(error.name, error.name), str(error), error.status)
