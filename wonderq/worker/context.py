"""The context of a handler: its message, and whether it should go on."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from wonderq.client.messages import Contents


class Context:
    """Passed to a handler that has a parameter with this annotation."""

    def __init__(self, message: Contents, name: str, check: Callable[[], None]) -> None:
        self.message = message
        """The message."""
        self.name = name
        """Name of the task, or of the queue for a plain handler."""
        self._check = check

    def __repr__(self) -> str:
        return f"<Context of {self.name} {self.id}, try {self.tries}>"

    @property
    def id(self) -> str:
        """Id of the message."""
        return self.message.id

    @property
    def tries(self) -> int:
        """Number of this try, from 1."""
        return self.message.tries

    def check(self) -> None:
        """Do nothing if the handler should go on. Call it where the handler may be interrupted.

        Raises:
            LeaseLost: the claim has ended, and another consumer may have the message.
            Stopping: the worker stops and gives the message back, without counting the try; or the handler ran
                longer than its timeout.
        """
        self._check()


def is_context(annotation: Any) -> bool:
    """Return whether a parameter with this annotation, of `typing.get_type_hints`, gets the context."""
    if get_origin(annotation) in (Union, UnionType):
        return Context in get_args(annotation)
    return annotation is Context
