"""Roles of API keys, and the role that each call requires."""

from __future__ import annotations

import re
from typing import Literal, get_args

Role = Literal["produce", "consume", "look", "inspect", "metrics", "admin"]
"""A permission of an API key."""
ROLES: tuple[Role, ...] = get_args(Role)
INCLUDED: dict[Role, tuple[Role, ...]] = {"inspect": ("inspect", "look"), "admin": ROLES}
"""Roles that permit what other roles permit."""
MAX_REQUESTS_PER_SECOND = 1_000_000
"""Largest rate limit of a key; far above what a broker can serve."""

Rule = Role | Literal["anybody", "signed"]
"""The requirement of a call: a role, no key, or for ``signed`` a check of the signature by `wonderq.sqs.endpoint`."""

_OF_MESSAGES: dict[str, dict[str, Rule]] = {
    "/messages/produce": {"POST": "produce"},  # also to a queue that this creates
    "/messages/consume": {"GET": "consume", "POST": "consume"},
    "/messages/next": {"POST": "consume"},  # and `consume` for each queue whose messages it finishes
    "/messages/delete": {"POST": "consume"},
    "/messages/update": {"POST": "consume"},
    "/messages/kick": {"POST": "admin"},
    "/messages/hand-over": {"POST": "consume"},  # and `produce` for each queue that receives messages
    "/messages/{message_id}": {
        "GET": "inspect", "DELETE": "consume", "UPDATE": "consume", "PUT": "consume", "PATCH": "consume",
    },
    "/dev/messages": {"GET": "inspect"},
    "/dev/messages/status": {"GET": "inspect"},
    "/dev/messages/search": {"GET": "inspect"},
    "/dev/messages/count": {"GET": "look"},
}  # fmt: skip

SQS_ADDRESSES = tuple(
    f"{address}{end}"
    for address in ("/{account:int(12)}/{queue}", "/queue/{queue}", "/queue/{queue}/{account:int(12)}/{name}")
    for end in ("", "/")
)
"""Paths of queues in the SQS protocol, to which clients of its query format send requests: that of today, and those of
earlier versions of SQS. In the last one, ``queue`` is the region and ``name`` the queue."""

SNS_CERTIFICATE = "/sns/{certificate}"
"""Path of the certificate with which SNS clients check signatures."""

UI_PAGES = (
    *("/ui", "/ui/search", "/ui/dead", "/ui/redrives", "/ui/schedules", "/ui/broker"),
    *("/ui/topics", "/ui/topics/{topic}", "/ui/queues/{queue}"),
)
"""Paths of the dashboard's pages. All have the same document, which knows its page by the path."""

UI_CLUSTER_PAGE = "/ui/cluster"
"""Path of the page that only the nodes of a cluster have."""

_PLAIN_NAME = re.compile(r"/[^/]+/?")


def is_plain_name(method: str, path: str) -> bool:
    """Return whether a call to a path that is no route may be one of SQS: a POST to the mere name of a queue."""
    return method == "POST" and _PLAIN_NAME.fullmatch(path) is not None


RULES: dict[str, dict[str, Rule]] = {
    **_OF_MESSAGES,
    **{"/queues/{queue}" + path: methods for path, methods in _OF_MESSAGES.items()},
    "/overview": {"GET": "look"},
    "/overview/history": {"GET": "look"},
    "/overview/broker": {"GET": "look"},  # and `admin` for its keys and settings
    "/search": {"GET": "inspect"},
    "/queues": {"GET": "look"},
    "/queues/{queue}": {"GET": "look", "PUT": "admin", "DELETE": "admin"},
    "/queues/{queue}/history": {"GET": "look"},
    "/queues/{queue}/purge": {"POST": "admin"},
    "/queues/{queue}/redrive": {"GET": "inspect", "POST": "admin"},  # and `admin` for the destination queue
    "/queues/{queue}/redrive/messages": {"POST": "admin"},  # and for the destination queue
    "/queues/{queue}/redrive/{redrive_id}": {"GET": "inspect", "DELETE": "admin"},
    "/redrives": {"GET": "inspect"},
    "/schedules": {"GET": "inspect"},
    "/schedules/{schedule}": {"GET": "inspect", "PUT": "admin", "DELETE": "admin"},  # for the queue of its messages
    "/cron/times": {"GET": "inspect"},
    "/topics": {"GET": "look"},
    "/topics/{topic}": {"GET": "look", "PUT": "admin", "DELETE": "admin"},
    "/topics/{topic}/subscriptions": {"GET": "look"},
    "/topics/{topic}/subscriptions/{subscription}": {"GET": "look", "PUT": "admin", "DELETE": "admin"},  # and the queue
    "/topics/{topic}/publish": {"POST": "produce"},
    "/topics/{topic}/match": {"POST": "look"},
    "/metrics": {"GET": "metrics"},
    "/healthz": {"GET": "anybody", "HEAD": "anybody"},
    "/readyz": {"GET": "anybody", "HEAD": "anybody"},
    "/": {"GET": "anybody", "POST": "signed"},
    SNS_CERTIFICATE: {"GET": "anybody"},
    **{address: {"GET": "signed", "POST": "signed"} for address in SQS_ADDRESSES},
    **{page: {"GET": "anybody"} for page in UI_PAGES},
    "/ui/assets/{folder}/{file}": {"GET": "anybody"},
    "/ui/session": {"POST": "anybody", "DELETE": "anybody"},  # a key in the body opens a session
    "/docs": {"GET": "anybody"},
    "/openapi.json": {"GET": "anybody"},
}
"""Requirement of each call, by path and method. See `INCLUDED` for roles that include others."""

CLUSTER_RULES: dict[str, dict[str, Rule]] = {
    **RULES,
    "/cluster": {"GET": "look"},
    "/cluster/transfer": {"POST": "admin"},
    "/cluster/drain": {"POST": "admin"},
    "/cluster/balance": {"POST": "admin"},
    UI_CLUSTER_PAGE: {"GET": "anybody"},
}
"""The same for a node of a cluster, which has further calls."""
