"""Counters of requests and connections."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter

from wonderq.runtime.histogram import Histogram

access_log = logging.getLogger("wonderq.access")
access_log.setLevel(logging.INFO)  # whoever asks for it gets it, whatever else is logged
_REQUEST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)

#: Methods that requests are counted under. Whoever invents one is counted under another name.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "UPDATE", "OPTIONS"))
NO_ROUTE = "none"

refusals: Counter[str] = Counter()
"""Requests and connections that were refused, by code, of all brokers in this process."""


class RequestCounters:
    """Counts of a server, changed by its one thread."""

    def __init__(self) -> None:
        self.by_kind: dict[tuple[str, str, str], Histogram] = {}
        """Seconds until requests were answered, by method, route and status. A request without a route has `NO_ROUTE`."""
        self.accepted = 0
        """Connections."""
        self.refused = 0
        self.log_requests = False
        self._kinds: dict[tuple[str, str | None, str], Histogram] = {}  # the same, as they come

    def answered(self, method: str, route: str | None, status: str, seconds: float, address: str) -> None:
        """Count a request, and log it if requests are logged.

        ``route`` is the template of its path: paths have ids in them.
        """
        found = self._kinds.get((method, route, status)) or self._first(method, route, status)
        found.counts[bisect_left(_REQUEST_S, seconds)] += 1
        if seconds > 0:  # the clock may have been set back
            found.total += seconds
        if self.log_requests:
            _log(_method(method), route or NO_ROUTE, int(status[:3]), seconds * 1000, address)

    def _first(self, method: str, route: str | None, status: str) -> Histogram:
        kind = (_method(method), route or NO_ROUTE, status[:3])
        found = self.by_kind.setdefault(kind, Histogram(_REQUEST_S))
        if method in _METHODS:
            self._kinds[method, route, status] = found
        return found


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _log(method: str, route: str, status: int, took_ms: float, address: str) -> None:
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(took_ms, 3), "address": address}
    access_log.info("%s %s %d in %.1f ms for %s", method, route, status, took_ms, address, extra={"fields": fields})
