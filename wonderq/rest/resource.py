"""Base class of the REST resources: the broker, and checks of a key that need the request's body."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import falcon
from msgspec import UNSET, UnsetType

from wonderq.auth.access import Access
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.broker.polls import Sources
from wonderq.httpd.errors import RequestError
from wonderq.model.messages import Target
from wonderq.model.permits import Permits, everything
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest import schemas
from wonderq.rest.values import sources_of


class Resource:
    """Base of the resources. ``access`` is None in a broker without API keys."""

    def __init__(self, broker: Broker, access: Access | None) -> None:
        self.broker = broker
        self.access = access

    def targets(self, req: falcon.Request, named: Iterable[tuple[str | None, str | None]]) -> list[Target]:
        """Return the messages that a request names by (id, receipt), each of which may be None.

        This is the only place in the REST API that makes a target, so no call can act on a message without this check.
        A call without a receipt takes the message from the consumer that holds it, and requires the role ``admin``.

        Raises:
            RequestError: the key lacks the role.
        """
        targets = Target.each(named)
        if self.access is not None and any(target.receipt is None for target in targets):
            error = self.access.authorize_without_receipt(req.auth)
            if error is not None:
                raise error
        return targets

    def sources(self, req: falcon.Request, queue: str | None, body: schemas.Consume) -> Sources:
        """Return the queues that a request claims from, which the key must all open.

        ``queue`` is that of the path, or None. Only there the body may name others.

        Raises:
            RequestError: the key lacks the role for one, both path and body name a queue, or only some have a weight.
        """
        given = body.queues if isinstance(body, schemas.ConsumeFrom) else UNSET
        if queue is not None:
            if given is not UNSET:
                message = "Give queues on the path without a queue: /messages/consume or /messages/next."
                raise RequestError(400, "ambiguous_request", message, "queues")
            return Sources((queue,))
        sources = Sources((DEFAULT_QUEUE,)) if isinstance(given, UnsetType) else sources_of(given)
        for name in sources.queues:
            self.check_queue(req, "consume", name)
        return sources

    def permits(self, req: falcon.Request) -> Permits:
        """Return the queues that the request's key opens, for a call of the broker that finds its target itself."""
        return everything if self.access is None else self.access.permits(req.auth)

    def opened_by(self, req: falcon.Request) -> Hashable:
        """Return the patterns of the queues that the request's key opens, or None if it opens all of them."""
        key = None if self.access is None else self.access.find(req.auth)
        return None if key is None else tuple(key.queues)

    def check_queue(self, req: falcon.Request, role: Role, queue: str) -> None:
        """Require a role for a queue that the path does not name.

        Raises:
            RequestError: the key lacks the role, or does not open the queue.
        """
        if self.access is not None:
            error = self.access.authorize_queue(req.auth, role, queue)
            if error is not None:
                raise error
