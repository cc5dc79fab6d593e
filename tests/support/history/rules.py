"""The promises that the checker knows, and the violations that it reports."""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: Allowed difference of two clock readings: deadlines are whole milliseconds, and a restart rereads the wall clock.
CLOCK_SLACK_S = 0.02

#: A consumer that waits must have been woken this long after a message became available.
WAKE_S = 1.5


class Rule(enum.Enum):
    """The promises, by their letters in the reports."""

    ACKED_IS_THERE = "a: an acked message that nobody deleted is there, with its body"
    NOTHING_UNEXPECTED = "b: what is there was produced, once, and batches are whole"
    CLAIM_IS_EXCLUSIVE = "c: nobody gets a message that is held"
    DELETED_STAYS_DELETED = "d: a deleted message is never seen again"
    REDELIVERED_SOON = "e: an available message is given to who asks"
    RECEIVES_GROW = "f: receive_count grows by one with each delivery, and only an uncounted release undoes that"
    RECEIPTS_COUNT = "g: a receipt works while its claim is current and never after"
    DEADLINES_STAY = "h: a deadline stays as it was set"
    COUNTS_AGREE = "i: counts, listing, replay and drain agree"
    ORDER_STAYS = "j: messages are listed and given out in the order of their produce"
    ANSWERED = "k: a running broker answers, and with an answer that fits"
    DEAD_IS_THERE = "l: a message that is declared dead is a dead letter, once"
    REQUEST_IS_WHOLE = "m: what one request ends is ended together, or not at all"
    ERRORS_STAY = "n: a message has the last error that was reported for it"
    CONSUMERS_STAY = "o: a claimed message has the name of its consumer"
    PUBLISHED_EVERYWHERE = "p: a published message is in all queues of its topic, once, or in none"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and the calls that show it."""

    rule: Rule
    text: str
    evidence: tuple[object, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"[{self.rule.value}] {self.text}", *(f"    {_short(each)}" for each in self.evidence)])


def _short(evidence: object) -> str:
    """Show a call, without the hundreds of messages that are not the matter."""
    text = repr(evidence)
    return text if len(text) <= 600 else text[:400] + " ... " + text[-180:]
