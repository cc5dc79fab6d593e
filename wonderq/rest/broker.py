"""The broker as its operator sees it: its log, its limits and their use, its settings and its keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import falcon

from wonderq.auth.access import Access
from wonderq.auth.keys import Key
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import live_bytes
from wonderq.broker.schedules import MAX_SCHEDULES
from wonderq.model.limits import UNLIMITED
from wonderq.model.times import iso_time
from wonderq.rest import schemas
from wonderq.rest.bodies import read_query, render
from wonderq.rest.health import SharedLogState
from wonderq.rest.overview import Vitals
from wonderq.rest.resource import Resource

SettingInForce = tuple[str, str, str, str]
"""Name, value, source and default of a setting, as texts."""


class BrokerResource(Resource):
    """``/overview/broker``. Settings and keys are only for keys with the role ``admin``."""

    def __init__(
        self, broker: Broker, access: Access | None, vitals: Callable[[], Vitals], settings: Sequence[SettingInForce]
    ) -> None:
        super().__init__(broker, access)
        self._vitals = vitals
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        vitals, counters = self._vitals(), self.broker.counters
        is_admin = self.access is None or self.access.authorize_without_receipt(req.auth) is None
        written_s = counters.checkpoint_at_s
        value = {
            "checkpoint": {
                "written_at": None if written_s is None else iso_time(round(written_s * 1000)),
                "bytes": counters.checkpoint_bytes,
                "lag_bytes": self.broker.checkpoint_lag_bytes,
            },
            "sync": {"p50": vitals.sync_p50_s, "p99": vitals.sync_p99_s},
            "log_live_bytes": live_bytes(self.broker),
            "shared_log": None if vitals.shared_log is None else _shared_log_object(vitals.shared_log),
            "limits": self._limits(vitals),
            "settings": list(map(_setting_object, self._settings)) if is_admin else None,
            "keys": list(map(_key_object, self._keys())) if is_admin else None,
        }
        render(req, resp, value)

    def _limits(self, vitals: Vitals) -> list[dict[str, Any]]:
        limits = self.broker.limits
        used = {name: (amount, getattr(limits, name)) for name, amount in self.broker.usage().items()}
        used["schedules"] = self.broker.schedules.count, MAX_SCHEDULES
        if vitals.connections is not None and vitals.connections_limit is not None:
            used["connections"] = vitals.connections, vitals.connections_limit
        return [
            {"name": name, "used": amount, "limit": None if limit >= UNLIMITED else limit}
            for name, (amount, limit) in used.items()
        ]

    def _keys(self) -> Sequence[Key]:
        return () if self.access is None else self.access.keys


def _shared_log_object(state: SharedLogState) -> dict[str, Any]:
    ahead_ms = state.clock_ahead_ms
    return {
        "node": state.node,
        "epoch": state.epoch,
        "took_over_at": iso_time(state.took_over_ms),
        "takeover": state.takeover_s,
        "fenced": state.fenced,
        "others": [{"node": node, "role": role} for node, role in state.others],
        "clock_ahead": None if ahead_ms is None else ahead_ms / 1000,
        "replicas": state.replicas,
        "replicas_current": state.replicas_current,
    }


def _setting_object(setting: SettingInForce) -> dict[str, str]:
    return dict(zip(("name", "value", "source", "default"), setting, strict=True))


def _key_object(key: Key) -> dict[str, Any]:
    """Return what may be known of a key: neither its hash nor its secret for SQS."""
    return {
        "id": key.id,
        "name": key.name,
        "roles": key.roles,
        "queues": key.queues,
        "created_at": iso_time(round(key.created_at.timestamp() * 1000)),
        "expires_at": None if key.expires_at is None else iso_time(round(key.expires_at.timestamp() * 1000)),
        "requests_per_second": key.requests_per_second,
        "sqs": key.sqs_secret is not None,
    }
