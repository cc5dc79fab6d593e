"""Clients of a soak: slow workers of the kill cycles, and one that creates, purges and drops a queue."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping

from tests.support.history.calls import DISK_FULL, Outcome
from tests.support.history.recording import RecordingClient, Target
from tests.support.worker import BACKLOG, Worker, backlog, live

#: Above this number of messages, the oldest ones are deleted, so that messages kept for ever do not look like a leak.
MOST = 500

#: A queue that is purged, dropped and made again all the time.
VOLATILE = "volatile"


def work(
    worker: Worker,
    clients: dict[str, RecordingClient],
    done: threading.Event,
    failures: list[BaseException],
    produces: bool,
    pause_s: float,
) -> None:
    """Produce, or consume and use what was claimed, with a pause of about so long after each, until ``done``."""
    rng = worker.random
    waiting = 0
    try:
        while not done.is_set() and not any(client.lost for client in clients.values()):
            if produces and rng.random() < 0.9:
                if waiting < BACKLOG and rng.random() < 0.1:
                    worker.publish(clients)
                elif waiting < BACKLOG:
                    worker.produce(clients, large=rng.random() < 0.03)
                if rng.random() < 0.05 or waiting >= BACKLOG:
                    waiting = backlog(rng.choice(live(clients)))
            elif rng.random() < 0.06:
                worker.act_by_id(clients)
            else:
                worker.consume(clients, patient=rng.random() < 0.02)
                worker.use_holdings(clients, eager=rng.random() < 0.2)
            refused = any(
                client.calls and client.calls[-1].outcome is Outcome.REFUSED and client.calls[-1].code == DISK_FULL
                for client in clients.values()
            )
            done.wait(0.2 if refused else rng.uniform(0, 2 * pause_s))
    except Exception as error:
        failures.append(error)


def administer_queues(
    clients: Mapping[str, RecordingClient],
    rng: random.Random,
    done: threading.Event,
    failures: list[BaseException],
    pause_s: float,
) -> None:
    """List queues, and create, purge and drop the volatile one."""
    try:
        while not done.wait(rng.uniform(0, 2 * pause_s)) and not any(each.lost for each in clients.values()):
            choice = rng.random()
            volatile = clients[VOLATILE]
            if choice < 0.5:
                _tidy(rng.choice(list(clients.values())))
            elif choice < 0.65:
                volatile.create_queue()
            elif choice < 0.85:
                volatile.purge()
            elif choice < 0.95:
                volatile.drop_queue()
            else:
                rng.choice([each for name, each in clients.items() if name != "default"]).purge()
    except Exception as error:
        failures.append(error)


def _tidy(client: RecordingClient) -> None:
    messages = client.list_all().messages
    if len(messages) > MOST:
        client.delete_batch([Target(each.id) for each in messages[: len(messages) - MOST // 2][:1000]])
