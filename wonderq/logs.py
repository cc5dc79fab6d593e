"""Logging to standard error: lines for people, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys

from wonderq.httpd.connections import Channel
from wonderq.model.times import iso_time
from wonderq.runtime.fibers import Hub


def set_up_logging(level: str, log_format: str = "console") -> None:
    """Log messages of at least ``level`` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Console())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _request_id() -> str:
    """Return the id of the request that the caller serves, or an empty string."""
    fiber = Hub.current()
    served = getattr(fiber.work, "__self__", None) if fiber is not None else None
    return served.request_id if isinstance(served, Channel) else ""


class _Console(logging.Formatter):
    """Appends the request's id to a message that belongs to a request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides a method of logging.Formatter
        request_id = _request_id()
        return super().formatMessage(record) + (f" [{request_id}]" if request_id else "")


class _Json(logging.Formatter):
    """Writes ``time``, ``level``, ``logger`` and ``message``, and ``request_id`` and ``exception`` if there is one.

    The entries of a record's ``fields`` are added to the object.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": iso_time(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = _request_id()
        if request_id:
            line["request_id"] = request_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
