"""Queues: list, create, configure, purge and delete them."""

from __future__ import annotations

import falcon

from wonderq.rest import schemas
from wonderq.rest.bodies import read_optional_body, read_query, render
from wonderq.rest.objects import queue_object
from wonderq.rest.resource import Resource
from wonderq.rest.values import settings_of


class QueueCollection(Resource):
    """``/queues``: the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        infos = self.broker.queues()
        if self.access is not None:
            is_theirs = self.access.queue_filter(req.auth)
            infos = [info for info in infos if is_theirs(info.name)]
        render(req, resp, [queue_object(info) for info in infos])


class QueueResource(Resource):
    """``/queues/{queue}``."""

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
    """``/queues/{queue}/purge``: delete all messages of a queue."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, {"success": True, "deleted": self.broker.purge(queue)})
