"""What a key opens: one table of roles, and the check of a request by its head alone.

Whatever has no rule is refused. The one thing that takes a request's body is left to the resources: to delete or change a
message without a receipt takes it from whoever holds it, and needs `admin`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from falcon.routing import CompiledRouter

from wonderq.auth import sigv4
from wonderq.auth.keys import EVERYBODY, Key, Keys
from wonderq.auth.roles import RULES, Role
from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import Head
from wonderq.model.limits import UNLIMITED
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.runtime.token_bucket import TokenBuckets

#: A body of no more than this arrives with its head.
_SMALL_BYTES = 1 << 14

#: The paths that are not about one queue.
_OF_NO_QUEUE = ("/queues", "/schedules", "/schedules/{schedule}", "/metrics")

#: The paths that tell of all queues, and so are for keys that open all.
_OF_ALL_QUEUES = ("/metrics",)


class Access:
    """Checks requests. `router` knows the paths, and is the application's own, so that both read a path alike."""

    def __init__(
        self, keys: Keys, *, requests_per_second: int = UNLIMITED, buckets: TokenBuckets | None = None
    ) -> None:
        """Each key may be used for so many ``requests_per_second``, unless it has a rate of its own."""
        self.router = CompiledRouter()
        self._keys = keys
        self._requests_per_second = requests_per_second
        self._buckets = buckets or TokenBuckets()

    @property
    def open_to_all(self) -> bool:
        """Whether there are no keys, so that nobody is asked for one."""
        return not self._keys.required

    def authorize(
        self, method: str, path: str, authorization: str | None, *, count: bool = True
    ) -> RequestError | None:
        """Return why a request is refused, judged by its head, or None if it is not.

        ``path`` is decoded, as in WSGI's ``PATH_INFO``; ``authorization`` is the value of that header. A request that is
        looked at twice has to ``count`` once, or its key may make half as many of them.
        """
        key = self._keys.find(authorization)
        if key is EVERYBODY:
            return None
        found = self.router.find(path)
        template = found[3] if found else None
        role = RULES.get(template or "", {}).get(method)
        if role == "anybody" or role == "signed":
            return None
        if key is None:
            return _unauthorized()
        too_fast = self._check_rate(key, count)
        if too_fast is not None:
            return too_fast
        if found is None:
            return None  # it will be told that there is nothing
        if role is None:
            return RequestError(403, "forbidden", "No key opens this: there is no rule for this method on this path.")
        if not key.has(role):
            return _forbidden(role, "")
        if template in _OF_ALL_QUEUES and "*" not in key.queues:
            return _forbidden(role, " for all queues")
        if template not in _OF_NO_QUEUE and not key.opens(found[2].get("queue", DEFAULT_QUEUE)):
            return _forbidden(role, " for this queue")
        return None

    def check_head(self, head: Head) -> RequestError | None:
        """Do the same for a server that asks before it reads a body; a small one comes with its head anyway."""
        if head.body_bytes is not None and head.body_bytes <= _SMALL_BYTES:
            return None
        error = self.authorize(head.method, head.path, head.headers.get("AUTHORIZATION"), count=False)
        return error or self._check_signer(head)

    def _check_signer(self, head: Head) -> RequestError | None:
        """Return why what is signed need not be read: because whoever is said to have signed it has no key."""
        found = self.router.find(head.path)
        if self.open_to_all or not found or RULES.get(found[3] or "", {}).get(head.method) != "signed":
            return None
        authorization = head.headers.get("AUTHORIZATION")
        signed = sigv4.parse(authorization)
        key = self.find(authorization) if signed is None else self.find_signed(signed.access_key_id)
        return _unauthorized() if key is None else None

    def _check_rate(self, key: Key, count: bool) -> RequestError | None:
        """Return why a key has to wait, if it has; what it is used for counts, whether that is refused then or not."""
        rate = key.requests_per_second or self._requests_per_second
        if rate >= UNLIMITED:
            return None
        wait_s = self._buckets.wait_s(key.id, rate, take=count)
        if not wait_s:
            return None
        message = f"This key may be used for {rate} requests a second. Wait, and send more messages in each request."
        return RequestError(429, "too_many_requests", message, headers={"Retry-After": str(ceil(wait_s))})

    def find(self, authorization: str | None) -> Key | None:
        """Return the key that the header brings, or None if it brings none that counts."""
        return self._keys.find(authorization)

    def find_signed(self, access_key_id: str) -> Key | None:
        """Return the key that SQS' clients call this; see `Keys.find_signed`."""
        return self._keys.find_signed(access_key_id)

    def check_rate(self, key: Key) -> RequestError | None:
        """Return why a key has to wait, if it has, and count that it is used."""
        return self._check_rate(key, count=True)

    def authorize_without_receipt(self, authorization: str | None) -> RequestError | None:
        """Return why a message may not be taken from whoever holds it, in a request that is fine otherwise."""
        key = self._keys.find(authorization)
        if key is None:
            return _unauthorized()
        return None if key.has("admin") else _forbidden("admin", ", or else the receipt of each message")

    def authorize_queue(self, authorization: str | None, role: Role, queue: str) -> RequestError | None:
        """Return why a queue may not be used that is named elsewhere than in the path, in a request that is fine otherwise."""
        key = self._keys.find(authorization)
        if key is None:
            return _unauthorized()
        return None if key.has(role) and key.opens(queue) else _forbidden(role, f" for the queue {queue[:80]}")

    def authorize_all_queues(self, authorization: str | None, role: Role, or_else: str) -> RequestError | None:
        """Return why something may not be done to whichever queue, in a request that is fine otherwise."""
        key = self._keys.find(authorization)
        if key is None:
            return _unauthorized()
        return None if key.has(role) and "*" in key.queues else _forbidden(role, f" for all queues{or_else}")

    def queue_filter(self, authorization: str | None) -> Callable[[str], bool]:
        """Return what tells whether a queue is one that is to be listed."""
        key = self._keys.find(authorization)
        return (lambda _: False) if key is None else key.opens


def _unauthorized() -> RequestError:
    # One answer for all that can be wrong with a key: whoever has none should not learn which.
    message = "This needs a key that counts, sent as Authorization: Bearer KEY."
    # RFC 9110, section 15.5.2: a 401 must say what it wants.
    return RequestError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def _forbidden(role: Role, more: str) -> RequestError:
    return RequestError(403, "forbidden", f"This needs a key with the role {role}{more}.")
