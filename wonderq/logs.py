"""What the broker writes to standard error: lines for people, or one JSON object each."""

from __future__ import annotations

import json
import logging
import sys

from wonderq.httpd.connections import Channel
from wonderq.model.times import iso_time
from wonderq.runtime.fibers import Hub


def set_up_logging(level: str, log_format: str = "console") -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Console())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns for each request that finds no idle thread


def _request_name() -> str:
    """Return what the request is called that the caller works for, or nothing."""
    fiber = Hub.current()
    served = getattr(fiber.work, "__self__", None) if fiber is not None else None
    return served.request_id if isinstance(served, Channel) else ""


class _Console(logging.Formatter):
    """Puts the name of the request behind the message, if there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a method of the library
        name = _request_name()
        return super().formatMessage(record) + (f" [{name}]" if name else "")


class _Json(logging.Formatter):
    """Writes ``time``, ``level``, ``logger``, ``message``; ``request_id`` and ``exception`` if there is one.

    What a record has in its ``fields`` stands beside them.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": iso_time(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        name = _request_name()
        if name:
            line["request_id"] = name
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
