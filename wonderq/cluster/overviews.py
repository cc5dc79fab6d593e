"""The overview, the histories and the limits of all shards together.

The owners of the shards may have different versions, as during a rolling upgrade. A field that only some of them tell
is joined from those. One that this version does not know is left out, because only its meaning says how to join it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Any

import falcon
import msgspec

from wonderq.cluster.edge import Forwarding
from wonderq.cluster.listings import shard_request
from wonderq.httpd.errors import encode_json
from wonderq.rest import schemas
from wonderq.rest.bodies import body_of, read_query, render
from wonderq.rest.shared_answers import Answer, SharedAnswers, etag_of

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

_Values = Sequence[Any]
"""The value of a field in the answer of each shard; None if the shard does not tell it."""

_Join = Callable[[_Values], Any]
"""Returns one value of those of all shards."""


def _known(values: _Values) -> list[Any]:
    return [each for each in values if each is not None]


def _first(values: _Values) -> Any:
    return next(iter(_known(values)), None)


def _largest(values: _Values) -> Any:
    return max(_known(values), default=None)


def _smallest(values: _Values) -> Any:
    return min(_known(values), default=None)


def _count(values: _Values) -> Any:
    """Return a sum. A version that does not know what is counted has none of it."""
    return sum(_known(values))


def _size(values: _Values) -> Any:
    """Return a sum, or None if no shard knows its part."""
    return sum(_known(values)) if _known(values) else None


def _is_every(values: _Values) -> bool:
    return all(_known(values))


def _is_any(values: _Values) -> bool:
    return any(values)


def _object_of(joins: Mapping[str, _Join]) -> _Join:
    """Return what joins objects that have these fields."""
    return lambda values: {name: join([each.get(name) for each in _known(values)]) for name, join in joins.items()}


def _counts(values: _Values) -> dict[str, Any]:
    known = _known(values)
    names = dict.fromkeys(name for each in known for name in each)
    return {name: _count([each.get(name) for each in known]) for name in names}


def _names_in_all(values: _Values) -> list[str]:
    """Return the names that no shard leaves out. A sum without one shard would be too small."""
    return [name for name in values[0] or () if all(each is not None and name in each for each in values)]


def _rates(values: _Values) -> dict[str, Any]:
    return {period: _counts([each[period] for each in values]) for period in _names_in_all(values)}


def _problems(values: _Values) -> list[Any]:
    """Return the different problems: one of a process is one of all its shards."""
    problems = (problem for each in _known(values) for problem in each)
    return list({msgspec.json.encode(problem, order="sorted"): problem for problem in problems}.values())


def _series(values: _Values) -> list[int]:
    """Return the sums of points. Series end at the same time, and one of a shard that was taken over is shorter."""
    known = _known(values)
    longest = max(map(len, known), default=0)
    padded = [[0] * (longest - len(each)) + list(each) for each in known]
    return [sum(points) for points in zip(*padded, strict=True)]


def _ages(values: _Values) -> dict[str, Any] | None:
    """Return one histogram, with the bounds that all have."""
    known = [each for each in _known(values) if "bounds" in each and "counts" in each]
    if not known:
        return None
    bounds = [bound for bound in known[0]["bounds"] if all(bound in each["bounds"] for each in known)]
    counts = [0] * (len(bounds) + 1)
    for each in known:
        for bound, count in zip([*each["bounds"], inf], each["counts"], strict=False):
            counts[bisect_left(bounds, bound)] += count
    quantiles = {name: _quantile(bounds, counts, share) for name, share in _QUANTILES.items()}
    return {"bounds": bounds, "counts": counts, "sum": _count([each.get("sum") for each in known]), **quantiles}


def _quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the bound that a share of the values did not exceed; None without values, or above all bounds."""
    total = sum(counts)
    reached = zip(bounds, accumulate(counts), strict=False)
    return next((bound for bound, count in reached if total and count >= share * total), None)


def _limits(values: _Values) -> list[dict[str, Any]]:
    """Return the limits. Each shard has its part of them."""
    parts = [{each.get("name"): each for each in value or ()} for value in values]
    return [_limit(name, [each[name] for each in parts]) for name in _names_in_all(parts)]


def _limit(name: str, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    join = _largest if name == "connections" else _count  # the shards of a process have the same connections
    used, limits = ([each.get(field) for each in parts] for field in ("used", "limit"))
    return {"name": name, "used": join(used), "limit": None if None in limits else join(limits)}


# The process that a figure is of is that of the owner, and several shards may have the same one.
_OVERVIEW: dict[str, _Join] = {
    "version": _first,
    "now": _largest,
    "started_at": _smallest,
    "ready": _is_every,
    "damaged": _is_any,
    "queues": _count,
    "counts": _counts,
    "dead_letters": _count,
    "dead_letters_last_hour": _count,
    "per_second": _rates,
    "consumers": _count,
    "problems": _problems,
    "more_problems": _count,
    "disk_free_bytes": _smallest,
    "log_bytes": _size,
    "log_disk_bytes": _size,
    "segments": _size,
    "sync_p50": _largest,
    "sync_p99": _largest,
    "connections": _largest,
    "connections_limit": _largest,
    "access": _first,
}

_HISTORY: dict[str, _Join] = {
    "window": _first,
    "step": _first,
    "ended_at": _largest,
    "is_kept": _is_any,
    **dict.fromkeys(("waiting", "in_flight", "produced", "deleted", "dead"), _series),
    "time_to_claim": _ages,
    "lifetime": _ages,
}

_BROKER: dict[str, _Join] = {
    "checkpoint": _object_of({"written_at": _smallest, "bytes": _size, "lag_bytes": _count}),
    "sync": _object_of({"p50": _largest, "p99": _largest}),
    "log_live_bytes": _count,
    "shared_log": _first,
    "limits": _limits,
    "settings": _first,
    "keys": _first,
}

merged_overview = _object_of(_OVERVIEW)
"""Returns one overview of those of all shards. Problems stay in the order of their shards."""

merged_history = _object_of(_HISTORY)
"""Returns one history. Owners take their samples at different times, so it is exact to one step."""

merged_broker = _object_of(_BROKER)
"""Returns one state of the broker."""


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


class OverviewHistory(_MergedResource):
    """``/overview/history``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.HistoryQuery)

        def answer() -> Answer:
            data, media_type = body_of(req, merged_history(self.parts(req)))
            return Answer(data, media_type, etag_of(data))

        self._answers.respond(req, resp, self.reader_of(req), answer)


class BrokerResource(_MergedResource):
    """``/overview/broker``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        render(req, resp, merged_broker(self.parts(req)))
