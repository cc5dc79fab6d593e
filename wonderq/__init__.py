"""WonderQ: a durable message broker in one process and one folder, and its Python client."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wonderq.client.asynchronous import AsyncClient, AsyncMessage, AsyncQueue
    from wonderq.client.calls import QueueInfo
    from wonderq.client.errors import (
        Forbidden,
        Invalid,
        NotFound,
        QueueFull,
        Refused,
        StaleReceipt,
        TooMany,
        Unauthorized,
        Unreachable,
        WonderQError,
    )
    from wonderq.client.fields import MessageOptions, QueueSettings
    from wonderq.client.messages import Sent
    from wonderq.client.sync import Client, Message, Queue

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncMessage",
    "AsyncQueue",
    "Client",
    "Forbidden",
    "Invalid",
    "Message",
    "MessageOptions",
    "NotFound",
    "Queue",
    "QueueFull",
    "QueueInfo",
    "QueueSettings",
    "Refused",
    "Sent",
    "StaleReceipt",
    "TooMany",
    "Unauthorized",
    "Unreachable",
    "WonderQError",
    "__version__",
]

_MODULES = {
    "wonderq.client.asynchronous": ("AsyncClient", "AsyncMessage", "AsyncQueue"),
    "wonderq.client.calls": ("QueueInfo",),
    "wonderq.client.fields": ("MessageOptions", "QueueSettings"),
    "wonderq.client.messages": ("Sent",),
    "wonderq.client.sync": ("Client", "Message", "Queue"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # for a type checker, the module would have every name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: the broker imports no client, and a thread no aiohttp."""
        if name not in __all__:
            raise AttributeError(f"module 'wonderq' has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF.get(name, "wonderq.client.errors")), name)
        globals()[name] = value
        return value
