"""Schedules: see `wonderq.broker.schedules`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import falcon

from wonderq.broker.schedules import Schedule
from wonderq.model.times import iso_time
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_query, render
from wonderq.rest.masks import hide, hide_attributes, mask_of
from wonderq.rest.objects import schedule_object
from wonderq.rest.resource import Resource
from wonderq.rest.values import schedule_fields_of, set_value
from wonderq.runtime.fibers import in_turns

#: Schedules that are encoded before other requests have their turn.
_SHOWN_PER_TURN = 100


class ScheduleCollection(Resource):
    """``/schedules``: the schedules of the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.ScheduleListing)
        found = self.broker.schedules.list(
            self.permits(req),
            contains=set_value(query.contains) or "",
            after=set_value(query.after) or "",
            limit=query.limit,
        )
        render(req, resp, [_shown(req, each) for each in in_turns(found, _SHOWN_PER_TURN)])


class ScheduleResource(Resource):
    """``/schedules/{schedule}``. Each method requires a key that opens the queue of the schedule's messages."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, schedule: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, _shown(req, self.broker.schedules.get(schedule, permits=self.permits(req))))

    def on_put(self, req: falcon.Request, resp: falcon.Response, schedule: str) -> None:
        given = schedule_fields_of(read_body(req, schemas.PutSchedule, self.broker.limits))
        changed, created = self.broker.schedules.put(schedule, self.permits(req), **given)
        render(req, resp, _shown(req, changed), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, schedule: str) -> None:
        read_query(req, schemas.Body)
        self.broker.schedules.delete(schedule, permits=self.permits(req))
        render(req, resp, {"success": True})


class CronTimes(Resource):
    """``/cron/times``: the meaning of a cron expression, before or without a schedule."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.CronQuery)
        words, times_ms = self.broker.schedules.next_times(query.cron, query.timezone, query.limit)
        value = {
            "cron": query.cron,
            "timezone": query.timezone,
            "words": words,
            "times": [iso_time(each) for each in times_ms],
        }
        render(req, resp, value)


def _shown(req: falcon.Request, schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as the client of a request sees it."""
    mask = mask_of(req)
    if mask is None:
        return schedule_object(schedule)
    attributes = hide_attributes(mask, schedule.attributes)
    shown = replace(schedule, body=hide(mask, schedule.body), attributes=attributes, group=hide(mask, schedule.group))
    return schedule_object(shown) | ({} if shown == schedule else {"masked": True})
