"""Base class of the REST resources: the broker, and checks of a key that need the request's body."""

from __future__ import annotations

from collections.abc import Sequence

import falcon

from wonderq.auth.access import Access
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.model.messages import Target


class Resource:
    """Base of the resources. Without ``access`` a resource serves everybody."""

    def __init__(self, broker: Broker, access: Access | None = None) -> None:
        self.broker = broker
        self.access = access

    def check_targets(self, req: falcon.Request, targets: Sequence[Target]) -> None:
        """Require the role ``admin`` to change messages without a receipt, as another consumer may have claimed them.

        Raises:
            RequestError: the key lacks the role.
        """
        if self.access is not None and any(target.receipt is None for target in targets):
            error = self.access.authorize_without_receipt(req.auth)
            if error is not None:
                raise error

    def check_queue(self, req: falcon.Request, role: Role, queue: str) -> None:
        """Require a role for a queue that the path does not name.

        Raises:
            RequestError: the key lacks the role, or does not open the queue.
        """
        if self.access is not None:
            error = self.access.authorize_queue(req.auth, role, queue)
            if error is not None:
                raise error
