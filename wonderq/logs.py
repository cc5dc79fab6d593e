"""Logging to standard error: lines for people, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TextIO

from wonderq.httpd.connections import Channel
from wonderq.model.times import iso_time
from wonderq.runtime.fibers import Hub

#: Most lines that wait until standard error takes them.
_MAX_LINES = 10_000

#: Most lines per call of the operating system.
_LINES_PER_WRITE = 100

#: Longest wait, at the end of the process, for a standard error that takes no lines.
_CLOSE_S = 2.0


def set_up_logging(level: str, log_format: str = "console") -> LogWriter:
    """Log messages of at least ``level`` to standard error. Closing the writer writes the lines that still wait."""
    writer = LogWriter(sys.stderr)
    writer.setFormatter(_Json() if log_format == "json" else _Console())
    logging.basicConfig(level=level.upper(), handlers=[writer])
    return writer


class LogWriter(logging.Handler):
    """Writes lines to a stream, in order, on a thread of its own.

    So a reader that stops reading holds up no request. While `_MAX_LINES` lines wait, further ones are dropped. The
    next line that is not dropped follows a line with their number.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="wonderq-logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= _MAX_LINES:
            self._dropped += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as in every handler of the library
            self.handleError(record)
            return
        self._report_dropped()
        self._lines.put(line)

    def _report_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        if count:
            about = "%d lines of the log were dropped here, because standard error took none"
            report = logging.LogRecord("wonderq.logs", logging.WARNING, __file__, 0, about, (count,), None)
            self._lines.put(self.format(report))

    def close(self) -> None:
        """Write the lines that wait, but wait no longer than `_CLOSE_S` for a stream that takes none."""
        if not self._closed:
            self._closed = True
            self._report_dropped()
            self._lines.put(None)
            self._thread.join(_CLOSE_S)
        logging.getLogger().removeHandler(self)
        super().close()

    def _write_all(self) -> None:
        more = True
        while more:
            lines = [self._lines.get()]
            with suppress(Empty):
                while len(lines) < _LINES_PER_WRITE:
                    lines.append(self._lines.get_nowait())
            more = None not in lines
            text = "".join(f"{line}\n" for line in lines if line is not None)
            with suppress(OSError, ValueError):  # closed, or on a full disk: there is no other place to report it
                _write(self._stream, text)


def _write(stream: TextIO | None, text: str) -> None:
    """Write a text whole, also to a stream that does not block."""
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except OSError:  # a stream of a test
        stream.write(text)
        return
    # Not through the stream: a thread that is blocked in it would also block the interpreter when that ends.
    data = text.encode(stream.encoding or "utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])  # the poll of macOS does not work for terminals


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
