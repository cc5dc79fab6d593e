"""The overview, the histories and the limits of all shards together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import falcon
import msgspec

from wonderq.cluster.edge import Forwarding
from wonderq.cluster.listings import shard_request
from wonderq.httpd.errors import encode_json
from wonderq.rest import schemas
from wonderq.rest.bodies import body_of, read_query, render
from wonderq.rest.shared_answers import Answer, SharedAnswers, etag_of

#: Fields of the overview by how those of the shards become one. All others are those of the first shard. The process
#: that a figure is of is that of the owner, and several shards may have the same one.
_SUMS = (
    "queues",
    "dead_letters",
    "dead_letters_last_hour",
    "consumers",
    "more_problems",
    "log_bytes",
    "log_disk_bytes",
    "segments",
)
_LARGEST = ("now", "sync_p50", "sync_p99", "connections", "connections_limit")
_SMALLEST = ("started_at", "disk_free_bytes")

#: Values of fields that a node of an earlier version does not send, as during a rolling upgrade.
_OF_EARLIER_NODES = {"more_problems": 0}

_SERIES = ("waiting", "in_flight", "produced", "deleted", "dead")
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class _MergedResource:
    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding
        self._answers = SharedAnswers()

    def parts(self, req: falcon.Request) -> list[dict[str, Any]]:
        """Return the answers of all shards."""
        bodies = self._forwarding.ask_all(shard_request(self._forwarding, req))
        return [msgspec.json.decode(each) for each in bodies]

    def reader_of(self, req: falcon.Request) -> tuple[str | None, bool]:
        """Return what the answer to a request depends on besides the request itself."""
        key = self._forwarding.key_of(req)
        return None if key is None else key.id, "HTTP_X_WONDERQ_UI" in req.env


class Overview(_MergedResource):
    """``/overview``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        self._answers.respond(req, resp, self.reader_of(req), lambda: self._answer(req))

    def _answer(self, req: falcon.Request) -> Answer:
        value = merged_overview(self.parts(req))
        data, media_type = body_of(req, value)
        del value["now"]
        return Answer(data, media_type, etag_of(encode_json(value)))


def merged_overview(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one overview of those of all shards. Problems stay in the order of their shards."""
    parts = [{**_OF_EARLIER_NODES, **each} for each in parts]
    value = dict(parts[0])
    for names, join in ((_SUMS, sum), (_LARGEST, max), (_SMALLEST, min)):
        for name in names:
            value[name] = _joined(join, [each[name] for each in parts])
    value["ready"] = all(each["ready"] for each in parts)
    value["damaged"] = any(each["damaged"] for each in parts)
    value["counts"] = _summed([each["counts"] for each in parts])
    value["per_second"] = {
        period: _summed([each["per_second"][period] for each in parts]) for period in parts[0]["per_second"]
    }
    # A problem of a process is one of all its shards.
    different = {tuple(problem.items()): problem for each in parts for problem in each["problems"]}
    value["problems"] = list(different.values())
    return value


class OverviewHistory(_MergedResource):
    """``/overview/history``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.HistoryQuery)

        def answer() -> Answer:
            data, media_type = body_of(req, merged_history(self.parts(req)))
            return Answer(data, media_type, etag_of(data))

        self._answers.respond(req, resp, self.reader_of(req), answer)


def merged_history(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one history of those of all shards.

    Owners take their samples at different times, so it is exact to one step.
    """
    value = dict(parts[0])
    value["ended_at"] = max(each["ended_at"] for each in parts)
    value["is_kept"] = any(each["is_kept"] for each in parts)
    for name in _SERIES:
        value[name] = _added([each[name] for each in parts])
    for name in ("time_to_claim", "lifetime"):
        value[name] = _merged_ages([each[name] for each in parts if each[name] is not None])
    return value


def _added(series: Sequence[Sequence[int]]) -> list[int]:
    """Return the sums of points. Series end at the same time, and one of a shard that was taken over is shorter."""
    longest = max(map(len, series))
    padded = [[0] * (longest - len(each)) + list(each) for each in series]
    return [sum(points) for points in zip(*padded, strict=True)]


def _merged_ages(parts: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not parts:
        return None
    counts = [sum(each) for each in zip(*(part["counts"] for part in parts), strict=True)]
    bounds = parts[0]["bounds"]
    quantiles = {name: _quantile(bounds, counts, share) for name, share in _QUANTILES.items()}
    return {"bounds": bounds, "counts": counts, "sum": sum(part["sum"] for part in parts), **quantiles}


def _quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the bound that a share of the values did not exceed; None without values, or above all bounds."""
    total = sum(counts)
    reached = zip(bounds, accumulate(counts), strict=False)
    return next((bound for bound, count in reached if total and count >= share * total), None)


class BrokerResource(_MergedResource):
    """``/overview/broker``: each shard has its part of the limits."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        render(req, resp, merged_broker(self.parts(req)))


def merged_broker(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one state of the broker of those of all shards."""
    value = dict(parts[0])
    checkpoints = [each["checkpoint"] for each in parts]
    value["checkpoint"] = {
        "written_at": _joined(min, [each["written_at"] for each in checkpoints]),
        "bytes": _joined(sum, [each["bytes"] for each in checkpoints]),
        "lag_bytes": sum(each["lag_bytes"] for each in checkpoints),
    }
    value["sync"] = {name: _joined(max, [each["sync"][name] for each in parts]) for name in ("p50", "p99")}
    value["log_live_bytes"] = sum(each["log_live_bytes"] for each in parts)
    value["limits"] = [_merged_limit(each) for each in zip(*(part["limits"] for part in parts), strict=True)]
    return value


def _merged_limit(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    join: Callable[[Any], Any] = max if parts[0]["name"] == "connections" else sum
    return {
        "name": parts[0]["name"],
        "used": join([each["used"] for each in parts]),
        "limit": None if any(each["limit"] is None for each in parts) else join([each["limit"] for each in parts]),
    }


def _joined(join: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    """Return the values that are known, joined; None if none is."""
    known = [each for each in values if each is not None]
    return join(known) if known else None


def _summed(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(each[name] for each in parts) for name in parts[0]}
