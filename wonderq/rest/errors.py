"""Errors of the broker and of storage as HTTP statuses."""

from __future__ import annotations

import wonderq_storage
from wonderq.model import errors

#: How each error is answered: its HTTP status, and after how many seconds it may be worth trying again.
ERRORS: dict[type[Exception], tuple[int, int | None]] = {
    errors.InvalidValueError: (400, None),
    errors.QueueNotFoundError: (404, None),
    errors.MessageNotFoundError: (404, None),
    errors.RedriveNotFoundError: (404, None),
    errors.ScheduleNotFoundError: (404, None),
    errors.StaleReceiptError: (409, None),
    errors.NotClaimedError: (409, None),
    errors.VersionConflictError: (409, None),
    errors.QueueDrainingError: (409, None),
    errors.DefaultQueueError: (409, None),
    errors.RedriveRunningError: (409, None),
    errors.MessageTooLargeError: (413, None),
    errors.BatchTooLargeError: (413, None),
    errors.TooManyWaitingError: (429, 1),
    errors.TooManyInFlightError: (429, 1),
    errors.TooManyListingsError: (429, 1),
    # 507 rather than 429, which is about requests in a given time (RFC 6585, section 4): here there is no room (RFC 4918,
    # section 11.5). Nobody knows when a queue will be deleted, so there is no time to wait for.
    errors.TooManyQueuesError: (507, None),
    errors.TooManySchedulesError: (507, None),
    errors.TooManyKeysError: (507, 5),
    errors.QueueFullError: (507, 5),
    errors.BrokerFullError: (507, 5),
    errors.ShuttingDownError: (503, 5),
    wonderq_storage.RecordTooLargeError: (413, None),
    wonderq_storage.LogFailedError: (503, 30),
    wonderq_storage.LogClosedError: (503, 5),
    wonderq_storage.CorruptLogError: (503, 30),
    wonderq_storage.DiskFullError: (507, 30),
}

_STORAGE_CODES: dict[type[Exception], str] = {
    wonderq_storage.RecordTooLargeError: "batch_too_large",
    wonderq_storage.LogFailedError: "log_failed",
    wonderq_storage.LogClosedError: "shutting_down",
    wonderq_storage.CorruptLogError: "log_damaged",
    wonderq_storage.DiskFullError: "disk_full",
}


def describe_error(error: Exception) -> tuple[int, str, str, str | None]:
    """Return what the error object for a domain error says: status, code, message, field."""
    status, _ = _answer_to(error)
    code = error.code if isinstance(error, errors.BrokerError) else _STORAGE_CODES[type(error)]
    return status, code, str(error), getattr(error, "field", None)


def retry_after_s(error: Exception) -> int | None:
    return _answer_to(error)[1]


def _answer_to(error: Exception) -> tuple[int, int | None]:
    return next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)
