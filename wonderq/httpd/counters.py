"""Counters of requests and connections."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter

from wonderq.runtime.histogram import Histogram

access_log = logging.getLogger("wonderq.access")
access_log.setLevel(logging.INFO)  # the access log does not depend on the log level

#: Bounds of the histogram of request durations, in seconds.
_REQUEST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)

#: Values of the label ``method``. All others are counted as ``other``, so that clients cannot create time series.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "UPDATE", "OPTIONS"))

#: Value of the label ``route`` for a request that matches no route.
NO_ROUTE = "none"

refusals: Counter[str] = Counter()
"""Number of refused requests and connections by error code, for all brokers in this process."""


class RequestCounters:
    """Counters of one server, updated by its only thread."""

    def __init__(self) -> None:
        self.by_kind: dict[tuple[str, str, str], Histogram] = {}
        """Seconds from a complete request to the start of its response, by method, route and status code."""
        self.accepted = 0
        """Number of accepted connections."""
        self.refused = 0
        """Number of connections closed because a limit was reached."""
        self.log_requests = False
        """Whether each request is written to the access log."""
        self._cached: dict[tuple[str, str | None, str], Histogram] = {}  # `by_kind` under the arguments as passed

    def answered(self, method: str, route: str | None, status: str, seconds: float, address: str) -> None:
        """Count a request, and write it to the access log if that is on.

        ``route`` is the template of the path, because a path may contain message ids.
        """
        found = self._cached.get((method, route, status)) or self._histogram(method, route, status)
        found.counts[bisect_left(_REQUEST_S, seconds)] += 1
        if seconds > 0:  # the system clock may have been set back
            found.total += seconds
        if self.log_requests:
            _log(_method(method), route or NO_ROUTE, int(status[:3]), seconds * 1000, address)

    def _histogram(self, method: str, route: str | None, status: str) -> Histogram:
        kind = (_method(method), route or NO_ROUTE, status[:3])
        found = self.by_kind.setdefault(kind, Histogram(_REQUEST_S))
        if method in _METHODS:
            self._cached[method, route, status] = found
        return found


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _log(method: str, route: str, status: int, took_ms: float, address: str) -> None:
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(took_ms, 3), "address": address}
    access_log.info("%s %s %d in %.1f ms for %s", method, route, status, took_ms, address, extra={"fields": fields})
