"""Errors of the client. All that a broker may cause are a `WonderQError`.

Their names say what happened, and go without "Error": they stand in the `except` lines of users.
"""

from __future__ import annotations

from typing import Any


class WonderQError(Exception):
    """Base of all errors of the client."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with all attributes, which `Exception` does not know as arguments."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[WonderQError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> WonderQError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class ClientClosedError(RuntimeError):
    """The client is closed. This is no `WonderQError`: the caller is to blame, and no broker."""

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__(message)


class Unreachable(WonderQError):  # noqa: N818
    """The broker gave no answer, also not to the repeated requests."""

    def __init__(self, message: str, *, outcome_unknown: bool) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown
        """Whether the broker may have carried out the request. False: it never arrived."""


class Refused(WonderQError):  # noqa: N818
    """The broker answered with an error. Nothing was changed, unless `outcome_unknown` is true."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer."""
        self.code = code
        """Error code of the API, such as ``queue_not_found``."""
        self.field = field
        """Name of the field that is invalid, if one is."""

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have been carried out: the broker failed, or lost its log, while it wrote to it."""
        return self.code in ("log_failed", "log_lost", "outcome_unknown", "internal_error")


class Invalid(Refused):
    """A field of the request is invalid; `field` names it if the broker does."""


class Unauthorized(Refused):
    """The broker needs an API key, or does not know this one."""


class Forbidden(Refused):
    """The API key lacks a role, or does not open the queue."""


class NotFound(Refused):
    """The queue, the message, or another named thing does not exist."""


class StaleReceipt(Refused):
    """The claim has ended and another consumer may have the message, or the message was changed meanwhile."""


class QueueFull(Refused):
    """The queue, the broker or its disk has no room for the message."""


class TooMany(Refused):
    """A rate or a number of requests is exceeded."""

    retry_after: float = 0.0
    """Seconds to wait before the next attempt, as the broker asks; 0 if it does not."""


_BY_CODE: dict[str, type[Refused]] = {
    "stale_receipt": StaleReceipt,
    "version_conflict": StaleReceipt,
}
_BY_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooMany,
    507: QueueFull,
}


#: Statuses of the refusals of a claim, which the answer to a `next` gives without a status.
_CLAIM_STATUS = {
    "queue_not_found": 404,
    "too_many_in_flight": 429,
    "too_many_waiting_consumers": 429,
    "shutting_down": 503,
    "log_failed": 503,
    "log_lost": 503,
    "different_shards": 409,
    "too_many_keys": 507,
    "disk_full": 507,
}


def refused(status: int, code: str, message: str, field: str | None = None, retry_after_s: float = 0.0) -> Refused:
    """Return the error for a refusal of the broker."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, Refused)
    error = kind(message, status=status, code=code, field=field)
    if isinstance(error, TooMany):
        error.retry_after = retry_after_s
    return error


def refused_claim(code: str, message: str) -> Refused:
    """Return the error for a claim that the broker refused in the answer to a `next`."""
    return refused(_CLAIM_STATUS.get(code, 0), code, message)
