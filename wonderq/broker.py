"""The semantics: what each operation decides. This is where they come together; `wonderq.core` has what they stand on."""

from __future__ import annotations

from wonderq.administering import Administering
from wonderq.changing import Changing
from wonderq.claiming import Claiming
from wonderq.sending import Sending


class Broker(Sending, Claiming, Changing, Administering):
    """All queues of one log. Every method may be called from any thread.

    Methods raise `BrokerError` for what they refuse, and the storage errors `DiskFullError` (nothing was changed),
    `LogFailedError` (the outcome is known after a restart) and `CorruptLogError`.

    Raises, from the constructor, what `Log.replay` and `Log.start` raise, and `UnreadableRecordError`.
    """
