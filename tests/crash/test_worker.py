"""The clients of the long runs record exactly what they did."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

from tests.support.history.calls import Delete, Outcome, Update
from tests.support.history.recording import RecordingClient, Target
from tests.support.worker import Holding, Worker


class _Calls:
    """Stands in for a client: it writes down who is renewed by id, and whose renewal names no timeout."""

    queue = "default"
    lost = False

    def __init__(self) -> None:
        self.by_id: set[str] = set()
        self.implied: set[str] = set()

    def update(self, update: Update, *, implied_timeout: bool = False) -> Update:
        if implied_timeout:
            self.implied.add(update.id)
        elif update.receipt is None and update.visibility_timeout_s:
            self.by_id.add(update.id)
        return replace(update, outcome=Outcome.OK)

    def update_batch(self, updates: list[Update]) -> list[Update]:
        return updates

    def delete(self, target: Target) -> Delete:
        return Delete(queue=self.queue, start_s=0, end_s=0, id=str(target.id))

    def delete_batch(self, targets: list[Target]) -> list[Delete]:
        return list(map(self.delete, targets))


def test_nobody_else_renews_what_is_renewed_without_naming_a_timeout() -> None:
    """Else it is written down with another timeout than the one it goes by."""
    calls = _Calls()
    clients = {"default": cast("RecordingClient", calls)}
    worker = Worker("w", random.Random(1), 1000)
    ids = [f"message {n}" for n in range(30)]
    for _ in range(300):
        worker.known = {"default": list(ids)}
        worker.act_by_id(clients)
        worker.holdings = [Holding("default", each, f"receipt of {each}", 0.1) for each in ids]
        worker.use_holdings(clients, eager=False)
    assert len(calls.by_id) > 5
    assert len(calls.implied) > 5
    assert not calls.by_id & calls.implied
