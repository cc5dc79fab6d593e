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
    from wonderq.tasks.app import App
    from wonderq.tasks.task import Task
    from wonderq.worker.context import Context
    from wonderq.worker.middleware import Middleware
    from wonderq.worker.outcomes import Dead, LeaseLost, Retry, Stopping
    from wonderq.worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncClient",
    "AsyncMessage",
    "AsyncQueue",
    "Client",
    "Context",
    "Dead",
    "Forbidden",
    "Invalid",
    "LeaseLost",
    "Message",
    "MessageOptions",
    "Middleware",
    "NotFound",
    "Queue",
    "QueueFull",
    "QueueInfo",
    "QueueSettings",
    "Refused",
    "Retry",
    "Sent",
    "StaleReceipt",
    "Stopping",
    "Task",
    "TooMany",
    "Unauthorized",
    "Unreachable",
    "WonderQError",
    "Worker",
    "__version__",
]

_MODULES = {
    "wonderq.client.asynchronous": ("AsyncClient", "AsyncMessage", "AsyncQueue"),
    "wonderq.client.calls": ("QueueInfo",),
    "wonderq.client.fields": ("MessageOptions", "QueueSettings"),
    "wonderq.client.messages": ("Sent",),
    "wonderq.client.sync": ("Client", "Message", "Queue"),
    "wonderq.tasks.app": ("App",),
    "wonderq.tasks.task": ("Task",),
    "wonderq.worker.context": ("Context",),
    "wonderq.worker.middleware": ("Middleware",),
    "wonderq.worker.outcomes": ("Dead", "LeaseLost", "Retry", "Stopping"),
    "wonderq.worker.worker": ("Worker",),
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
