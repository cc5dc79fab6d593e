"""Authorization: decides from the head of a request whether its API key permits it.

A path or method without a rule is denied. Checks that need the body are made by the resources: to delete or change a
claimed message without its receipt, for example, requires the role `admin`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Self

from falcon.routing import CompiledRouter

from wonderq.auth import sigv4
from wonderq.auth.grants import Grants
from wonderq.auth.keys import EVERYBODY, Key, Keys
from wonderq.auth.roles import RULES, Role, Rule, is_plain_name
from wonderq.auth.sessions import SCHEME, Sessions, credential
from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import Head
from wonderq.model.limits import UNLIMITED
from wonderq.model.permits import Permits
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.runtime.token_bucket import TokenBuckets

#: A body up to this size usually arrives together with its head.
_SMALL_BYTES = 1 << 14

#: Paths that name no queue, so that patterns of queues do not apply.
_WITHOUT_QUEUE = (
    *("/overview", "/overview/history", "/overview/broker", "/search", "/queues", "/redrives"),
    *("/schedules", "/schedules/{schedule}", "/cron/times", "/topics", "/metrics"),
    *("/cluster", "/cluster/transfer", "/cluster/drain", "/cluster/balance"),
)

#: Paths whose body may name the queues. `wonderq.rest.resource.Resource.sources` checks them.
_QUEUES_IN_BODY = ("/messages/consume", "/messages/next")

_OTHER_QUEUES = frozenset(_WITHOUT_QUEUE + _QUEUES_IN_BODY)

#: Paths that expose or move all queues, and so require a key for all queues.
_ABOUT_ALL_QUEUES = (
    *("/metrics", "/overview/history", "/overview/broker"),
    *("/cluster/transfer", "/cluster/drain", "/cluster/balance"),
)


class Access:
    """Authorizes requests.

    The application uses `router` as its own router, so that both parse a path in the same way.
    """

    grants = Grants()
    """Stand for keys that another node has checked. All applications of a process take the same ones."""

    def __init__(
        self,
        keys: Keys,
        *,
        requests_per_second: int = UNLIMITED,
        buckets: TokenBuckets | None = None,
        sessions: Sessions | None = None,
        rules: Mapping[str, Mapping[str, Rule]] = RULES,
    ) -> None:
        """Limit each key to ``requests_per_second``, unless it has a rate of its own.

        Several applications of one process share ``buckets`` and ``sessions``. ``rules`` has the requirement of each
        call, by path and method.
        """
        self.router = CompiledRouter()
        self.sessions = sessions or Sessions()
        self._rules = rules
        self._keys = keys
        self._requests_per_second = requests_per_second
        self._buckets = buckets or TokenBuckets()

    def with_own_router(self) -> Self:
        """Return an object that decides like this one, for another application with routes of its own."""
        twin = copy.copy(self)
        twin.router = CompiledRouter()
        return twin

    @property
    def open_to_all(self) -> bool:
        """Whether the broker has no keys, so that every request is permitted."""
        return not self._keys.required

    @property
    def keys(self) -> Sequence[Key]:
        """All keys, the oldest first. They hold hashes and secrets, which no response may have."""
        return self._keys.all()

    def authorize(
        self, method: str, path: str, authorization: str | None, *, count: bool = True, is_counted: bool = False
    ) -> RequestError | None:
        """Return the error for a request that is denied by its head, or None if it is permitted.

        ``path`` is decoded, as WSGI's ``PATH_INFO``; ``authorization`` is the value of that header. If you check
        a request twice, set ``count`` in one of the checks only: otherwise the request counts twice for the rate of its
        key. With ``is_counted``, this does not check the rate again.
        """
        key = self.find(authorization)
        if key is EVERYBODY:
            return None
        found = self.router.find(path)
        template = found[3] if found else None
        role = self._rule(method, path, template)
        if role == "anybody" or role == "signed":
            return None
        if key is None:
            return unauthorized()
        # A request with a grant was counted by the node that checked its key.
        too_fast = None if is_counted or self.grants.has(authorization) else self._check_rate(key, count)
        if too_fast is not None:
            return too_fast
        if found is None:
            return None  # the application responds with 404
        if role is None:
            return RequestError(403, "forbidden", "No key permits this: there is no rule for this method on this path.")
        if not key.has(role):
            return _forbidden(role, "")
        if template in _ABOUT_ALL_QUEUES and not key.opens(None):
            return _forbidden(role, " for all queues")
        if "topic" in found[2]:
            return None if key.opens(found[2]["topic"]) else _forbidden(role, " for this topic")
        if template not in _OTHER_QUEUES and not key.opens(found[2].get("queue", DEFAULT_QUEUE)):
            return _forbidden(role, " for this queue")
        return None

    def check_head(self, head: Head) -> RequestError | None:
        """Authorize a request before its body is read. Skips small bodies, which arrive with the head anyway."""
        if head.body_bytes is not None and head.body_bytes <= _SMALL_BYTES:
            return None
        error = self.authorize(
            head.method, head.path, head.headers.get("AUTHORIZATION") or credential(head.headers.get), count=False
        )
        return error or self._check_signer(head)

    def _check_signer(self, head: Head) -> RequestError | None:
        """Return the error for a signed request whose access key id is unknown, so that its body need not be read."""
        found = self.router.find(head.path)
        if self.open_to_all or self._rule(head.method, head.path, found[3] if found else None) != "signed":
            return None
        authorization = head.headers.get("AUTHORIZATION")
        try:
            signed = sigv4.parse(authorization)
        except sigv4.SignatureError:
            return unauthorized()
        key = self.find(authorization) if signed is None else self.find_signed(signed.access_key_id)
        return unauthorized() if key is None else None

    def _rule(self, method: str, path: str, template: str | None) -> Rule | None:
        """Return the requirement of a call, or None without a rule. ``template`` is None if no route has the path."""
        if template is None:
            return "signed" if is_plain_name(method, path) else None
        return self._rules.get(template, {}).get(method)

    def _check_rate(self, key: Key, count: bool) -> RequestError | None:
        """Return the error for a key that exceeds its rate. A request takes its token even if it is denied later."""
        rate = key.requests_per_second or self._requests_per_second
        if rate >= UNLIMITED:
            return None
        wait_s = self._buckets.wait_s(key.id, rate, take=count)
        if not wait_s:
            return None
        message = f"This key may make {rate} requests per second. Wait, and send more messages in each request."
        return RequestError(429, "too_many_requests", message, headers={"Retry-After": str(ceil(wait_s))})

    def find(self, authorization: str | None) -> Key | None:
        """Return the valid key in an ``Authorization`` header, or that of a session; None if there is none."""
        if self.grants.has(authorization) and not self.open_to_all:
            assert authorization is not None
            granted = self.grants.key_id_of(authorization)
            return EVERYBODY if granted is None else self._keys.find_by_id(granted)
        if authorization is None or not authorization.startswith(SCHEME) or self.open_to_all:
            return self._keys.find(authorization)
        key_id = self.sessions.key_id_of(authorization.removeprefix(SCHEME))
        return None if key_id is None else self._keys.find_by_id(key_id)

    def knows(self, key_id: str | None) -> bool:
        """Return whether this process has a key that another node has found valid, or needs none."""
        return key_id is None or self.open_to_all or self._keys.find_by_id(key_id) is not None

    def find_signed(self, access_key_id: str) -> Key | None:
        """Return the valid key that SQS clients know by this id, or None; see `Keys.find_signed`."""
        return self._keys.find_signed(access_key_id)

    def check_rate(self, key: Key) -> RequestError | None:
        """Return the error for a key that exceeds its rate; otherwise count the request and return None."""
        return self._check_rate(key, count=True)

    def authorize_without_receipt(self, authorization: str | None) -> RequestError | None:
        """Return the error, for a request that is otherwise permitted, if the key may not omit a receipt."""
        key = self.find(authorization)
        if key is None:
            return unauthorized()
        return None if key.has("admin") else _forbidden("admin", ", or the receipt of each message")

    def authorize_queue(self, authorization: str | None, role: Role, queue: str) -> RequestError | None:
        """Return the error, for a request that is otherwise permitted, if the key may not use a queue in its body."""
        key = self.find(authorization)
        if key is None:
            return unauthorized()
        return None if key.has(role) and key.opens(queue) else _forbidden(role, f" for the queue {queue[:80]}")

    def permits(self, authorization: str | None) -> Permits:
        """Return the queues that a key opens, for a request whose role is already checked."""
        key = self.find(authorization)
        return (lambda _: False) if key is None else key.opens


def unauthorized() -> RequestError:
    """Return the error for a request without a valid key."""
    # The same response for every fault of a key, so that a client without one learns nothing about existing keys.
    message = "This request needs a valid API key. Send it as Authorization: Bearer KEY."
    # A 401 must have this header (RFC 9110, section 15.5.2).
    return RequestError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def _forbidden(role: Role, more: str) -> RequestError:
    return RequestError(403, "forbidden", f"This request needs a key with the role {role}{more}.")
