"""WonderQ: a durable message broker in one process and one folder, and its Python client."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wonderq.client.administration import QueueInfo, Redrive, Schedule
    from wonderq.client.async_message import AsyncMessage
    from wonderq.client.async_queue import AsyncQueue
    from wonderq.client.async_topic import AsyncTopic
    from wonderq.client.asynchronous import AsyncClient
    from wonderq.client.claims import Finished, Next, Release, ToDeadLetters
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
    from wonderq.client.failures import Failure
    from wonderq.client.fields import MessageOptions, QueueSettings
    from wonderq.client.messages import Contents, DeadLetter, Sent
    from wonderq.client.polls import Poll
    from wonderq.client.sync import Client
    from wonderq.client.sync_message import Message
    from wonderq.client.sync_queue import Queue
    from wonderq.client.sync_topic import Topic
    from wonderq.client.topics import (
        Match,
        Published,
        SubscriptionFields,
        SubscriptionInfo,
        TopicInfo,
        TopicSettings,
    )
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
    "AsyncTopic",
    "Client",
    "Contents",
    "Context",
    "Dead",
    "DeadLetter",
    "Failure",
    "Finished",
    "Forbidden",
    "Invalid",
    "LeaseLost",
    "Match",
    "Message",
    "MessageOptions",
    "Middleware",
    "Next",
    "NotFound",
    "Poll",
    "Published",
    "Queue",
    "QueueFull",
    "QueueInfo",
    "QueueSettings",
    "Redrive",
    "Refused",
    "Release",
    "Retry",
    "Schedule",
    "Sent",
    "StaleReceipt",
    "Stopping",
    "SubscriptionFields",
    "SubscriptionInfo",
    "Task",
    "ToDeadLetters",
    "TooMany",
    "Topic",
    "TopicInfo",
    "TopicSettings",
    "Unauthorized",
    "Unreachable",
    "WonderQError",
    "Worker",
    "__version__",
]

_MODULES = {
    "wonderq.client.administration": ("QueueInfo", "Redrive", "Schedule"),
    "wonderq.client.async_message": ("AsyncMessage",),
    "wonderq.client.async_queue": ("AsyncQueue",),
    "wonderq.client.async_topic": ("AsyncTopic",),
    "wonderq.client.asynchronous": ("AsyncClient",),
    "wonderq.client.claims": ("Finished", "Next", "Release", "ToDeadLetters"),
    "wonderq.client.failures": ("Failure",),
    "wonderq.client.fields": ("MessageOptions", "QueueSettings"),
    "wonderq.client.messages": ("Contents", "DeadLetter", "Sent"),
    "wonderq.client.polls": ("Poll",),
    "wonderq.client.sync": ("Client",),
    "wonderq.client.sync_message": ("Message",),
    "wonderq.client.sync_queue": ("Queue",),
    "wonderq.client.sync_topic": ("Topic",),
    "wonderq.client.topics": (
        *("Match", "Published", "SubscriptionFields", "SubscriptionInfo", "TopicInfo", "TopicSettings"),
    ),
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
