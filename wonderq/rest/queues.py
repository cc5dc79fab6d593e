"""Queues: list, create, configure, purge and delete them."""

from __future__ import annotations

from functools import partial
from typing import Any

import falcon

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.model.errors import InvalidValueError
from wonderq.model.messages import QueueInfo
from wonderq.model.permits import Permits
from wonderq.rest import schemas
from wonderq.rest.bodies import accepts_msgpack, encoded, read_optional_body, read_query, render
from wonderq.rest.listing import stream
from wonderq.rest.objects import figures_object, queue_object
from wonderq.rest.resource import Resource
from wonderq.rest.shared_answers import Answer, SharedAnswers, answer_of
from wonderq.rest.values import set_value, settings_of

#: Queues of the largest answer that readers share. It is made in one turn of a few milliseconds.
_MOST_SHARED = 200


class _QueueResource(Resource):
    def __init__(self, broker: Broker, access: Access | None) -> None:
        super().__init__(broker, access)
        self._answers = SharedAnswers()

    def with_figures(self, info: QueueInfo, permits: Permits) -> dict[str, Any]:
        """Return a queue with its figures, to a client that may see the permitted queues and topics."""
        figures = self.broker.overview.figures_of(info.name)
        return {**queue_object(info), "figures": figures_object(info, figures, permits)}


class QueueCollection(_QueueResource):
    """``/queues``: the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.QueueListing)
        limit = set_value(query.limit)
        permits = self.permits(req)
        to_object = partial(self.with_figures, permits=permits) if query.figures else queue_object

        def answer() -> Answer:
            infos = self.broker.queues(self._names(query, permits))
            # An array of msgpack begins with its length, so all queues are encoded before the first is sent.
            values = [encoded(to_object(info)) if accepts_msgpack(req) else to_object(info) for info in infos]
            return answer_of(req, values)

        if limit is not None and limit <= _MOST_SHARED:
            self._answers.respond(req, resp, self.opened_by(req), answer)
        elif accepts_msgpack(req):
            answer().send(req, resp)
        else:
            infos = self.broker.queues(self._names(query, permits))
            stream(req, resp, map(to_object, infos), infos.close)

    def _names(self, query: schemas.QueueListing, permits: Permits) -> list[str]:
        prefix, contains = set_value(query.prefix) or "", set_value(query.contains) or ""
        after, limit = set_value(query.after) or "", set_value(query.limit)
        matches = self._with_dead_letters(permits) if query.dead_letters else permits
        if query.sort == "name":
            return self.broker.queue_names(prefix=prefix, contains=contains, after=after, limit=limit, matches=matches)
        if after:
            message = "after needs the order by name. Leave it out, and give a higher limit to see more queues."
            raise InvalidValueError("after", message)

        def is_wanted(name: str) -> bool:
            return name.startswith(prefix) and contains in name and matches(name)

        return self.broker.overview.largest(query.sort, limit, is_wanted)

    def _with_dead_letters(self, permits: Permits) -> Permits:
        found = self.broker.overview.current().with_dead_letters()
        return lambda name: name in found and permits(name)


class QueueResource(_QueueResource):
    """``/queues/{queue}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        query = read_query(req, schemas.QueueQuery)

        def answer() -> Answer:
            info = self.broker.queue(queue)
            return answer_of(req, self.with_figures(info, self.permits(req)) if query.figures else queue_object(info))

        self._answers.respond(req, resp, self.opened_by(req), answer)

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
