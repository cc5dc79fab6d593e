"""Trace context: the headers of a request that SQS keeps with its messages, so that a consumer can continue the trace.

AWS X-Ray: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-tracing.html
W3C: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_AWS, _PARENT, _STATE = "AWSTraceHeader", "traceparent", "tracestate"

_MAX_CHARACTERS = 1024
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{8})([0-9a-f]{24})-([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?")


def trace_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the trace context in the headers of a WSGI environment, as system attributes of a message.

    Headers that are too long are left out: a trace must not keep a message from being sent.
    """
    found: dict[str, str] = {}
    aws, parent = environ.get("HTTP_X_AMZN_TRACE_ID"), environ.get("HTTP_TRACEPARENT")
    if aws and _fits(aws):
        found[_AWS] = aws
    if parent and _fits(parent):
        found[_PARENT] = parent
        state = environ.get("HTTP_TRACESTATE")
        if state and _fits(state):
            found[_STATE] = state
    return found


def _fits(value: str) -> bool:
    return len(value) <= _MAX_CHARACTERS and value.isascii()


def trace_header_of(system: Mapping[str, str]) -> str | None:
    """Return the ``AWSTraceHeader`` of a message, or None. That of W3C is translated as AWS X-Ray does it."""
    if _AWS in system:
        return system[_AWS]
    parent = _TRACE_PARENT.fullmatch(system.get(_PARENT, ""))
    if parent is None:
        return None
    time, rest, span, flags = parent.groups()
    return f"Root=1-{time}-{rest};Parent={span};Sampled={int(flags, 16) & 1}"
