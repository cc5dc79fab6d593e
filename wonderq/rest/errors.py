"""Errors of the broker and of storage as HTTP errors.

Each broker error has a code of its own; its status is in `wonderq.rest.error_codes`. Storage knows no codes, so
they are here.
"""

from __future__ import annotations

import wonderq_storage
from wonderq.model.errors import BrokerError
from wonderq.rest.error_codes import ERROR_CODES

STORAGE_CODES: dict[type[Exception], str] = {
    wonderq_storage.RecordTooLargeError: "batch_too_large",
    wonderq_storage.LogFailedError: "log_failed",
    wonderq_storage.LogLostError: "log_lost",
    wonderq_storage.LogClosedError: "shutting_down",
    wonderq_storage.CorruptLogError: "log_damaged",
    wonderq_storage.DiskFullError: "disk_full",
}
"""Codes of the storage errors that a request can meet. Any other storage error is a bug."""


def describe_error(error: Exception) -> tuple[int, str, str, str | None]:
    """Return status, code, message and field of a `BrokerError` or of a key of `STORAGE_CODES`."""
    code = _code_of(error)
    return ERROR_CODES[code].statuses[0], code, str(error), getattr(error, "field", None)


def retry_after_s(error: Exception) -> int | None:
    """Return after how many seconds a retry may succeed, or None if that is unknown."""
    return ERROR_CODES[_code_of(error)].retry_after_s


def _code_of(error: Exception) -> str:
    return error.code if isinstance(error, BrokerError) else STORAGE_CODES[type(error)]
