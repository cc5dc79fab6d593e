"""Code of users that runs around every handler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wonderq.worker.context import Context
from wonderq.worker.tracing import span


class Middleware:
    """Base of middleware. Its methods run where the handler runs: on its thread, or on the event loop.

    `before` runs in the order of the list, the others in reverse order. An error in `before` or `after` is a failure of
    the handler.
    """

    def before(self, context: Context) -> None:
        """Run before the handler."""

    def after(self, context: Context) -> None:
        """Run after a handler that returned."""

    def on_failure(self, context: Context, error: BaseException) -> None:
        """Run after a handler that raised an error, or was interrupted."""


@contextmanager
def around(middleware: Sequence[Middleware], context: Context) -> Iterator[None]:
    """Run middleware around a block, which is the handler, within a span."""
    with span(context):
        try:
            for each in middleware:
                each.before(context)
            yield
            for each in reversed(middleware):
                each.after(context)
        except BaseException as error:
            for each in reversed(middleware):
                each.on_failure(context, error)
            raise
