"""OpenTelemetry spans, if opentelemetry-api is installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from wonderq.worker.context import Context

try:
    _trace: Any = import_module("opentelemetry.trace")
    _propagator: Any = import_module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()
except ImportError:
    _trace = _propagator = None


def span(context: Context) -> AbstractContextManager[Any]:
    """Return a span of the handler that continues the trace of the message.

    Names are those of OpenTelemetry's conventions for messaging.
    """
    if _trace is None:
        return nullcontext()
    message = context.message
    headers = {"traceparent": message.traceparent, "tracestate": message.tracestate}
    manager: AbstractContextManager[Any] = _trace.get_tracer("wonderq").start_as_current_span(
        f"process {context.name}",
        context=_propagator.extract({name: value for name, value in headers.items() if value}),
        kind=_trace.SpanKind.CONSUMER,
        attributes={
            "messaging.system": "wonderq",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.queue,
            "messaging.message.id": message.id,
        },
    )
    return manager


def is_set_up() -> bool:
    """Return whether the program has a provider of spans. Without one, spans only pass on the trace of a message."""
    return _trace is not None and not isinstance(_trace.get_tracer_provider(), _trace.ProxyTracerProvider)


def current_trace() -> dict[str, str]:
    """Return ``traceparent`` and ``tracestate`` of the current span, if there is one."""
    headers: dict[str, str] = {}
    if _propagator is not None:
        _propagator.inject(headers)
    return headers
