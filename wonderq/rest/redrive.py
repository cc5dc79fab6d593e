"""Redrives: move dead letters back to their queues, or messages to another queue; see `wonderq.broker.redrive`."""

from __future__ import annotations

from typing import Any

import falcon

from wonderq.broker.redrive import Redrive
from wonderq.model.times import iso_time
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_optional_body, read_query, render
from wonderq.rest.masks import hide, mask_of
from wonderq.rest.messages import batch_results
from wonderq.rest.resource import Resource
from wonderq.rest.values import period_of, set_value
from wonderq.runtime.fibers import in_turns

#: Redrives that are encoded before other requests have their turn.
_SHOWN_PER_TURN = 100


class RedriveCollection(Resource):
    """``/queues/{queue}/redrive``: the redrives of a queue."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, [_shown(req, each) for each in self.broker.redrives.list(queue)])

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        body = read_optional_body(req, schemas.Redrive, self.broker.limits)
        redrive_id = self.broker.redrives.start(
            queue,
            set_value(body.destination),
            per_second=set_value(body.per_second),
            limit=set_value(body.limit),
            contains=set_value(body.contains),
            attribute=set_value(body.attribute),
            produced=period_of(body),
            dry_run=body.dry_run,
            permits=self.permits(req),
        )
        render(req, resp, _shown(req, self.broker.redrives.get(redrive_id)), 202)


class Move(Resource):
    """``/queues/{queue}/redrive/messages``: move single messages at once."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        body = read_body(req, schemas.Move, self.broker.limits)
        self.broker.limits.check_entries(len(body.ids))
        targets = self.targets(req, [(each, None) for each in body.ids])
        outcomes = self.broker.move(queue, body.ids, set_value(body.destination), permits=self.permits(req))
        render(req, resp, batch_results(targets, outcomes))


class AllRedrives(Resource):
    """``/redrives``: those of all queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        found = self.broker.redrives.list_all(self.permits(req))
        render(req, resp, [_shown(req, each) for each in in_turns(found, _SHOWN_PER_TURN)])


class RedriveResource(Resource):
    """``/queues/{queue}/redrive/{redrive_id}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str, redrive_id: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, _shown(req, self.broker.redrives.get(redrive_id, source=queue)))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, queue: str, redrive_id: str) -> None:
        read_query(req, schemas.Body)
        redrive, _ = self.broker.redrives.cancel(redrive_id, source=queue)
        render(req, resp, _shown(req, redrive))


def _shown(req: falcon.Request, redrive: Redrive) -> dict[str, Any]:
    """Return a redrive as the client of a request sees it: its filters may repeat the text of messages."""
    value, mask = redrive_object(redrive), mask_of(req)
    for name in ("contains", "attribute"):
        if mask is not None and value[name] is not None:
            value[name] = hide(mask, value[name])
    return value


def redrive_object(redrive: Redrive) -> dict[str, Any]:
    """Return a redrive as clients see it."""
    return {
        "id": redrive.id,
        "queue": redrive.source,
        "destination": redrive.destination,
        "status": redrive.status,
        "moved": redrive.moved,
        "skipped": redrive.skipped,
        "total": redrive.total,
        "dry_run": redrive.dry_run,
        "per_second": redrive.per_second,
        "limit": redrive.limit,
        "contains": redrive.contains,
        "attribute": redrive.attribute,
        "since": None if redrive.since_ms is None else iso_time(redrive.since_ms),
        "until": None if redrive.until_ms is None else iso_time(redrive.until_ms),
        "started_at": iso_time(redrive.started_ms),
        "ended_at": None if redrive.ended_ms is None else iso_time(redrive.ended_ms),
        "failure": redrive.failure,
    }
