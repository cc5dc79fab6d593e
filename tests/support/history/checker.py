"""Decide whether a broker that keeps its promises can have produced a history of calls and its final state.

Everything is judged by what is certain. A call took effect at one moment between its start and its end, and one whose
answer was lost perhaps not at all, so of each change the checker knows the earliest and latest moment, and speaks of a
violation only where no choice of moments, and of lost calls that happened, explains what was seen. Of a claim it knows
more: its deadline tells when it was made. `tests.crash.brute_force` compares it with a search through all choices.

What the rules assume of the clients: bodies are unique; limit times body size stays below what one claim may carry; an
id or a receipt is used only by who had it in an answer.
"""

from __future__ import annotations

from collections import defaultdict

from tests.support.history import hold_rules, message_rules, queue_rules, request_rules
from tests.support.history.calls import FinalState, History
from tests.support.history.changes import Message
from tests.support.history.evidence import Evidence
from tests.support.history.rules import CLOCK_SLACK_S, WAKE_S, Rule, Violation

__all__ = ["CLOCK_SLACK_S", "WAKE_S", "Rule", "Violation", "check"]


def check(history: History, final: FinalState | None = None) -> list[Violation]:
    """Return every violation, most with the calls that prove it."""
    evidence = Evidence(history, final or FinalState(()))
    queue_rules.answers(evidence)
    passed_over = {queue: hold_rules.PassedOver(evidence, queue) for queue in list(evidence.consumes)}
    by_queue: dict[str, list[Message]] = defaultdict(list)
    for message in evidence.messages.values():
        by_queue[message.queue].append(message)
        message_rules.bodies(evidence, message)
        message_rules.errors(evidence, message)
        message_rules.consumers(evidence, message)
        message_rules.receive_counts(evidence, message)
        message_rules.deleted(evidence, message)
        message_rules.receipts(evidence, message)
        hold_rules.holds(evidence, message)
        hold_rules.deadlines(evidence, message)
        if message.queue in passed_over:
            hold_rules.redelivery(evidence, message, passed_over[message.queue])
    for queue, listings in list(evidence.listings.items()):
        known = [each for each in by_queue[queue] if each.produce is not None]
        queue_rules.presence(evidence, listings, known)
        queue_rules.order(evidence, listings)
    for consumes in evidence.consumes.values():
        queue_rules.order(evidence, consumes)
    for queue in list(evidence.clearings):
        queue_rules.cleared(evidence, queue, by_queue[queue])
    for final_queue in evidence.final.queues:
        queue_rules.agreement(evidence, final_queue, by_queue[final_queue.queue])
    request_rules.whole(evidence)
    request_rules.moved(evidence)
    return evidence.violations
