"""Overview of the broker for people: totals, rates, problems, and what the request's key may do; histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import falcon

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.broker.history import WINDOWS, Ages
from wonderq.broker.overview import PERIODS_MS, Totals
from wonderq.broker.problems import Problem
from wonderq.httpd.errors import encode_json
from wonderq.model.times import iso_time
from wonderq.rest import schemas
from wonderq.rest.bodies import body_of, read_query
from wonderq.rest.health import SharedLogState
from wonderq.rest.resource import Resource
from wonderq.rest.shared_answers import Answer, SharedAnswers, answer_of, etag_of

READ_ONLY = "wonderq.read_only"
"""Key in the environment of a request of a dashboard that may only read."""

#: Free space below which the disk is a problem.
LOW_DISK_BYTES = 1 << 30


@dataclass(frozen=True)
class Vitals:
    """State of the process and its disk, where the application can know it."""

    version: str
    disk_free_bytes: int | None = None
    log_bytes: int | None = None
    """Bytes of all records in the log, also of those that a compaction would remove."""
    log_disk_bytes: int | None = None
    segments: int | None = None
    sync_p50_s: float | None = None
    sync_p99_s: float | None = None
    """Durations that half of the log's syncs, and 99 of 100, did not exceed, as bounds of a histogram's buckets."""
    connections: int | None = None
    connections_limit: int | None = None
    shared_log: SharedLogState | None = None
    """None if the log is in a folder."""


class Overview(Resource):
    """``/overview``."""

    def __init__(self, broker: Broker, access: Access | None, vitals: Callable[[], Vitals]) -> None:
        super().__init__(broker, access)
        self._vitals = vitals
        self._answers = SharedAnswers()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        access = self._access_of(req)
        self._answers.respond(req, resp, encode_json(access), lambda: self._answer(req, access))

    def _answer(self, req: falcon.Request, access: dict[str, Any]) -> Answer:
        value = self._value(req, access)
        data, media_type = body_of(req, value)
        del value["now"]
        return Answer(data, media_type, etag_of(encode_json(value)))

    def _value(self, req: falcon.Request, access: dict[str, Any]) -> dict[str, Any]:
        broker, permits = self.broker, self.permits(req)
        snapshot = broker.overview.current()
        opens_all = permits(None)
        totals = snapshot.totals(None if opens_all else permits)
        names = None if opens_all else [each for each in list(broker.counters.by_queue) if permits(each)]
        vitals = self._vitals()
        problems, more_problems = snapshot.problems(permits)
        return {
            "version": vitals.version,
            "now": iso_time(broker.core.clock.now_ms()),
            "started_at": iso_time(broker.history.began_ms),
            "ready": broker.unready is None,
            "damaged": broker.is_damaged,
            "queues": totals.queues,
            "counts": _counts(totals),
            "dead_letters": totals.dead_letters,
            "dead_letters_last_hour": broker.history.dead_in_last_hour(names) + snapshot.refused_in_last_hour(permits),
            "per_second": {
                period: broker.overview.per_second(names, ms)._asdict() for period, ms in PERIODS_MS.items()
            },
            "consumers": broker.waiting_consumers if opens_all else totals.consumers,
            "problems": [*_problems_of_disk(vitals), *(each._asdict() for each in problems)],
            "more_problems": more_problems,
            "disk_free_bytes": vitals.disk_free_bytes,
            "log_bytes": vitals.log_bytes,
            "log_disk_bytes": vitals.log_disk_bytes,
            "segments": vitals.segments,
            "sync_p50": vitals.sync_p50_s,
            "sync_p99": vitals.sync_p99_s,
            "connections": vitals.connections,
            "connections_limit": vitals.connections_limit,
            "access": access,
        }

    def _access_of(self, req: falcon.Request) -> dict[str, Any]:
        key = None if self.access is None or self.access.open_to_all else self.access.find(req.auth)
        read_only = req.env.get(READ_ONLY, False)
        if key is None:
            return {"key": None, "name": None, "roles": ["admin"], "queues": ["*"], "read_only": read_only}
        return {"key": key.id, "name": key.name, "roles": key.roles, "queues": key.queues, "read_only": read_only}


def _counts(totals: Totals) -> dict[str, int]:
    return {
        "unprocessed": totals.waiting,
        "processing": totals.in_flight,
        "delayed": totals.delayed,
        "buried": totals.buried,
    }


def _problems_of_disk(vitals: Vitals) -> list[dict[str, Any]]:
    free = vitals.disk_free_bytes
    if free is None or free >= LOW_DISK_BYTES:
        return []
    message = f"The disk of the log has {free >> 20:,} MiB left. Make room, or produces will be refused."
    return [Problem("disk_low", "error", message)._asdict()]


class _HistoryResource(Resource):
    def __init__(self, broker: Broker, access: Access | None) -> None:
        super().__init__(broker, access)
        self._answers = SharedAnswers()

    def respond(self, req: falcon.Request, resp: falcon.Response, queue: str | None) -> None:
        """Set the response to the history of a queue, or for None of all together."""
        query = read_query(req, schemas.HistoryQuery)
        self._answers.respond(
            req, resp, None, lambda: answer_of(req, _history_object(self.broker, queue, query.window))
        )


class OverviewHistory(_HistoryResource):
    """``/overview/history``: the history of all queues together."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.respond(req, resp, None)


class QueueHistory(_HistoryResource):
    """``/queues/{queue}/history``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        self.broker.queue(queue)  # or 404
        self.respond(req, resp, queue)


def _history_object(broker: Broker, queue: str | None, window: str) -> dict[str, Any]:
    """Return the history of a queue, or for None of all together."""
    track, ages = broker.history.of(queue), broker.history.ages(queue)
    points = {} if track is None else track.points[window]._asdict()
    ended_ms = broker.history.sampled_ms - (0 if track is None else track.unfinished_ms(window))
    return {
        "window": window,
        "step": WINDOWS[window].step_ms // 1000,
        "ended_at": iso_time(ended_ms),
        "is_kept": track is not None,
        **{name: list(points.get(name, ())) for name in ("waiting", "in_flight", "produced", "deleted", "dead")},
        "time_to_claim": None if ages is None else _ages_object(ages[0]),
        "lifetime": None if ages is None else _ages_object(ages[1]),
    }


def _ages_object(ages: Ages) -> dict[str, Any]:
    """Return ages as clients see them, in seconds."""
    return {
        "bounds": [bound / 1000 for bound in ages.bounds_ms],
        "counts": ages.counts,
        "sum": ages.total_ms / 1000,
        "p50": _seconds(ages.p50_ms),
        "p90": _seconds(ages.p90_ms),
        "p99": _seconds(ages.p99_ms),
    }


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
