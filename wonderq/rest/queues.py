"""Queues: list, create, configure, purge and delete them."""

from __future__ import annotations

import falcon

from wonderq.rest import schemas
from wonderq.rest.bodies import accepts_msgpack, encoded, read_optional_body, read_query, render
from wonderq.rest.listing import stream
from wonderq.rest.objects import queue_object
from wonderq.rest.resource import Resource
from wonderq.rest.values import set_value, settings_of


class QueueCollection(Resource):
    """``/queues``: the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.QueueListing)
        names = self.broker.queue_names(
            prefix=set_value(query.prefix) or "",
            after=set_value(query.after) or "",
            limit=set_value(query.limit),
            matches=self.permits(req),
        )
        infos = self.broker.queues(names)
        if accepts_msgpack(req):  # an array begins with its length, so all queues are encoded before the first is sent
            render(req, resp, [encoded(queue_object(info)) for info in infos])
        else:
            stream(resp, map(queue_object, infos), infos.close)


class QueueResource(Resource):
    """``/queues/{queue}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, queue_object(self.broker.queue(queue)))

    def on_put(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        settings = settings_of(read_optional_body(req, schemas.PutQueue, self.broker.limits))
        info, created = self.broker.put_queue(queue, self.permits(req), **settings)
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
