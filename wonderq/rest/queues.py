"""Resources for queues."""

from __future__ import annotations

import falcon

from wonderq.httpd.errors import RequestError
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.model.status import STATUS_BY_NAME
from wonderq.rest import schemas
from wonderq.rest.bodies import read_optional_body, read_query, render
from wonderq.rest.objects import queue_object
from wonderq.rest.resource import Resource
from wonderq.rest.values import (
    settings_of,
)


def check_status(status: str) -> str:
    if status not in STATUS_BY_NAME:
        raise RequestError(400, "invalid_value", f"status must be one of {', '.join(STATUS_BY_NAME)}.", "status")
    return status


class Count(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        status = check_status(read_query(req, schemas.Count).status)
        render(req, resp, {"count": self.broker.count(queue, status), "status": status})
        resp.set_header("Cache-Control", "no-store")


class Queues(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        infos = self.broker.queues()
        if self.access is not None:
            is_theirs = self.access.queue_filter(req.auth)
            infos = [info for info in infos if is_theirs(info.name)]
        render(req, resp, [queue_object(info) for info in infos])


class QueueResource(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, queue_object(self.broker.queue(queue)))

    def on_put(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        settings = settings_of(read_optional_body(req, schemas.PutQueue))
        if settings.get("dead_letter_queue"):
            self.check_queue(req, "admin", settings["dead_letter_queue"])
        info, created = self.broker.put_queue(queue, **settings)
        render(req, resp, queue_object(info), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        self.broker.drop_queue(queue)
        render(req, resp, {"success": True})


class Purge(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, {"success": True, "deleted": self.broker.purge(queue)})
