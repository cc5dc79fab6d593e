"""Base class of the REST resources."""

from __future__ import annotations

from collections.abc import Sequence

import falcon

from wonderq.auth.access import Access
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.model.messages import Target


class Resource:
    """What the resources have in common."""

    def __init__(self, broker: Broker, access: Access | None = None) -> None:
        self.broker = broker
        self.access = access

    def check_targets(self, req: falcon.Request, targets: Sequence[Target]) -> None:
        """Refuse a change of messages that others may hold to whoever may only consume."""
        if self.access is not None and any(target.receipt is None for target in targets):
            error = self.access.authorize_without_receipt(req.auth)
            if error is not None:
                raise error

    def check_queue(self, req: falcon.Request, role: Role, queue: str) -> None:
        """Refuse a queue that is named elsewhere than in the path to whoever may not do that with it."""
        if self.access is not None:
            error = self.access.authorize_queue(req.auth, role, queue)
            if error is not None:
                raise error
