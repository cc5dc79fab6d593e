"""Redrive over HTTP: see `wonderq.broker.redrive`."""

from __future__ import annotations

from typing import Any

import falcon
from msgspec import UNSET

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.broker.redrive import Redrive
from wonderq.model.errors import RedriveNotFoundError
from wonderq.model.times import iso_time
from wonderq.rest import schemas
from wonderq.rest.bodies import read_optional_body, read_query, render
from wonderq.rest.resource import Resource
from wonderq.rest.values import set_value


class Redrives(Resource):
    """Those of a queue."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, list(map(redrive_object, self.broker.redrives.list(queue))))

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        body = read_optional_body(req, schemas.Redrive)
        if body.destination is UNSET:
            self._check_all_queues(req)
        else:
            self.check_queue(req, "admin", body.destination)
        move_id = self.broker.redrives.start(
            queue,
            set_value(body.destination),
            per_second=set_value(body.per_second),
            limit=set_value(body.limit),
            contains=set_value(body.contains),
            attribute=set_value(body.attribute),
            dry_run=body.dry_run,
        )
        render(req, resp, redrive_object(self.broker.redrives.get(move_id)), 202)

    def _check_all_queues(self, req: falcon.Request) -> None:
        """Refuse to bring messages back to queues that only they name, to whoever may not use all queues."""
        if self.access is not None:
            error = self.access.authorize_all_queues(req.auth, "admin", ", or else a destination that it opens")
            if error is not None:
                raise error


class OneRedrive(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str, redrive_id: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, redrive_object(self._find(queue, redrive_id)))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, queue: str, redrive_id: str) -> None:
        read_query(req, schemas.Body)
        self._find(queue, redrive_id)
        render(req, resp, redrive_object(self.broker.redrives.cancel(redrive_id)))

    def _find(self, queue: str, redrive_id: str) -> Redrive:
        for move in self.broker.redrives.list(queue):
            if move.id == redrive_id:
                return move
        raise RedriveNotFoundError


def redrive_object(move: Redrive) -> dict[str, Any]:
    """Return a move as clients see it."""
    return {
        "id": move.id,
        "queue": move.source,
        "destination": move.destination,
        "status": move.status,
        "moved": move.moved,
        "skipped": move.skipped,
        "total": move.total,
        "dry_run": move.dry_run,
        "per_second": move.per_second,
        "limit": move.limit,
        "contains": move.contains,
        "attribute": move.attribute,
        "started_at": iso_time(move.started_ms),
        "ended_at": None if move.ended_ms is None else iso_time(move.ended_ms),
        "failure": move.failure,
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], broker: Broker, access: Access | None = None) -> None:
    """Add these resources. What is added here needs a rule in `wonderq.auth.access` too."""
    app.add_route("/queues/{queue}/redrive", Redrives(broker, access))
    app.add_route("/queues/{queue}/redrive/{redrive_id}", OneRedrive(broker, access))
