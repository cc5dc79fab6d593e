"""Rules about the order of messages that several judges share."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable

from tests.promises.history import Delivery, Message, QueueHistory
from tests.promises.verdict import Verdict

#: Counts of `overtaken` and `chosen`.
EARLIER_OF_GROUP = "earlier messages of a group at a delivery"
AVAILABLE_BESIDE = "available messages that an answer left out"
NEIGHBOURS = "neighbours in an answer"


def overtaken(history: QueueHistory) -> Verdict:
    """Judge a FIFO queue: no message is claimed before all earlier ones of its group are deleted, or come before it in its answer."""
    verdict = Verdict()
    groups: dict[str, list[Message]] = defaultdict(list)
    for message in history.messages.values():
        if message.exists:
            groups[str(message.sending.fields.get("group"))].append(message)
    for group, messages in groups.items():
        gone_s = {message.text: message.maybe_gone_from() for message in messages}
        for delivery in (each for message in messages for each in message.deliveries):
            mine = history.messages[delivery.text]
            for earlier in messages:
                if earlier is mine or not earlier.sending.is_before(mine.sending):
                    continue
                verdict.saw(EARLIER_OF_GROUP)
                if gone_s[earlier.text] > delivery.exchange.ended_s and not _comes_before(earlier, delivery):
                    verdict.report(
                        f"group {group}: {mine.text!r} was delivered although {earlier.text!r} came before it and was not deleted",
                        *earlier.evidence,
                        *mine.evidence,
                    )
    return verdict


def _comes_before(earlier: Message, delivery: Delivery) -> bool:
    return any(each.exchange is delivery.exchange and each.place < delivery.place for each in earlier.deliveries)


def chosen(history: QueueHistory, comes_first: Callable[[Message, Message], bool]) -> Verdict:
    """Judge an ordinary queue: an answer has the available messages that come first, in their order.

    ``comes_first`` tells whether one message surely has to be delivered before another one.
    """
    verdict = Verdict()
    answers: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        if delivery.text in history.messages:
            answers[delivery.exchange.number].append(delivery)
    for group in answers.values():
        messages, exchange = [history.messages[each.text] for each in group], group[0].exchange
        for first, second in itertools.pairwise(messages):
            verdict.saw(NEIGHBOURS)
            if comes_first(second, first):
                verdict.report(f"an answer has {first.text!r} before {second.text!r}", exchange, *second.evidence[:1])
        for other in history.available(exchange.began_s, exchange.ended_s):
            if other in messages:
                continue
            verdict.saw(AVAILABLE_BESIDE)
            for message in messages:
                if comes_first(other, message):
                    verdict.report(
                        f"{message.text!r} was delivered while {other.text!r} was available, which comes first",
                        exchange,
                        *other.evidence,
                        message.sending.exchange,
                    )
    return verdict
