"""Arguments of tasks: bound to the signature, checked against the annotations, written as JSON.

The text of a task's message is a JSON object::

    {"task": "resize", "args": ["cat.png"], "kwargs": {"width": 400}}

``args`` and ``kwargs`` may be absent. Programs in any language can send such messages.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec

from wonderq.worker.context import Context, is_context

#: msgspec builds its description of a type at the first use, which two threads must not do at once.
_building = threading.Lock()


class Call(msgspec.Struct, omit_defaults=True):
    """Text of a task's message."""

    task: str
    """Name of the task."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Call)
_encoder = msgspec.json.Encoder()


def read_call(text: str) -> Call:
    """Return the call that a message stands for.

    Raises:
        ValueError: the text is not that of a task's message.
    """
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(
            f'the message is not that of a task, {{"task": NAME, "args": [], "kwargs": {{}}}}: {error}'
        ) from error


class Arguments:
    """The arguments that a task's function takes from its message."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Inspect a function.

        Raises:
            NameError: an annotation names something that is not defined.
            TypeError: JSON cannot express an annotated type.
        """
        hints = get_type_hints(function)
        self._name = getattr(function, "__name__", repr(function))
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._context_name = next((name for name in parameters if is_context(hints.get(name))), None)
        kept = [each for name, each in parameters.items() if name != self._context_name]
        self._sent = self._signature.replace(parameters=kept)
        self._types = {each.name: _type_of(each, hints) for each in kept}
        self._names = _names_of(kept)
        self._all_have_names = _names_of(parameters.values()) is not None
        self._needed = sum(each.default is inspect.Parameter.empty for each in kept)
        with _building:
            for name, kind in self._types.items():
                try:
                    msgspec.json.Decoder(kind)
                except TypeError as error:
                    raise TypeError(f"{self._name}: JSON cannot express the type of {name!r}: {error}") from error

    def to_text(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the text of a message that calls the task.

        Raises:
            TypeError: the arguments do not fit the signature or the annotations.
        """
        try:
            call = Call(task, msgspec.to_builtins(args), msgspec.to_builtins(kwargs))
        except TypeError as error:
            raise TypeError(f"{self._name}: JSON cannot express an argument: {error}") from error
        self._bind(call)
        return _encoder.encode(call).decode()

    def bind(self, call: Call, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments to call the function with.

        Raises:
            TypeError: the arguments do not fit the signature or the annotations.
        """
        values = self._bind(call)
        if self._context_name is not None:
            values[self._context_name] = context
        if self._all_have_names:
            return (), values
        bound = inspect.BoundArguments(self._signature, values)
        return bound.args, bound.kwargs

    def _bind(self, call: Call) -> dict[str, Any]:
        """Return the values of the parameters, as their annotated types."""
        names, args = self._names, call.args
        values: Mapping[str, Any]
        if not call.kwargs and names is not None and self._needed <= len(args) <= len(names):
            values = dict(zip(names, args, strict=False))  # as below, in a tenth of the time
        else:
            try:
                values = self._sent.bind(*args, **call.kwargs).arguments
            except TypeError as error:
                raise TypeError(f"{self._name}: {error}") from error
        return {name: self._convert(name, value) for name, value in values.items()}

    def _convert(self, name: str, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._types[name], builtin_types=())
        except msgspec.ValidationError as error:
            raise TypeError(f"{self._name}: argument {name!r}: {error}") from error


def _names_of(parameters: Iterable[inspect.Parameter]) -> list[str] | None:
    """Return the names of parameters, or None if one of them cannot be given both by its place and by its name."""
    kinds = {each.name: each.kind for each in parameters}
    return list(kinds) if set(kinds.values()) <= {inspect.Parameter.POSITIONAL_OR_KEYWORD} else None


def _type_of(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    kind = hints.get(parameter.name, Any)
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return types.GenericAlias(tuple, (kind, ...))
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return types.GenericAlias(dict, (str, kind))
    return kind
