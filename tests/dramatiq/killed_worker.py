"""A worker of dramatiq whose task prints that it begins, and never ends. A test kills it."""

from __future__ import annotations

import sys
import time

import dramatiq

from tests.dramatiq.conftest import LEASE_S
from wonderq.dramatiq import WonderQBroker

broker = WonderQBroker(sys.argv[1], lease=LEASE_S)
dramatiq.set_broker(broker)


@dramatiq.actor
def work() -> None:
    """Begin."""
    print("begins", flush=True)
    time.sleep(3600)


dramatiq.Worker(broker, worker_timeout=50, worker_threads=1).start()
time.sleep(3600)
