"""The semantics: what each operation decides. This is where they come together; `wonderq.broker.core` has what they stand on."""

from __future__ import annotations

from wonderq.broker.changes import Changing
from wonderq.broker.claims import Claiming
from wonderq.broker.produce import Sending
from wonderq.broker.queues import Administering
from wonderq.broker.redrive import Redrives
from wonderq.broker.schedules import Schedules
from wonderq.model.limits import Limits
from wonderq.runtime.clock import Clock
from wonderq_storage import Checkpoints, Log


class Broker(Sending, Claiming, Changing, Administering):
    """All queues of one log. Every method may be called from any thread.

    Methods raise `BrokerError` for what they refuse, and the storage errors `DiskFullError` (nothing was changed),
    `LogFailedError` (the outcome is known after a restart) and `CorruptLogError`.

    Raises, from the constructor, what `Log.replay` and `Log.start` raise, and `UnreadableRecordError`.
    """

    def __init__(
        self,
        log: Log,
        *,
        checkpoints: Checkpoints | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        create_queues: bool = True,
    ) -> None:
        super().__init__(log, checkpoints=checkpoints, clock=clock, limits=limits, create_queues=create_queues)
        self.redrives = Redrives(self)
        self.schedules = Schedules(self)
