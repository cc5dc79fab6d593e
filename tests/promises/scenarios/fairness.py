"""Groups of an ordinary queue take turns, so a group with one message waits for at most one message of each other one."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.promises.client import Client
from tests.promises.history import NEVER, Delivery, Message, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import Texts, listed, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "fairness"
SINGLES, FEWEST, TURNS = "groups with one message", "choices of a group with fewer", "choices of a group by its turn"

#: Duration of claims in seconds: longer than a round, so no claim ends by itself.
_TIMEOUT_S = 600


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    singles = Texts(rng)
    held: list[dict[str, Any]] = []
    attempts = 0

    def lone(client: Client) -> None:
        text = singles.next(client)
        client.produce(QUEUE, [{"message": text, "group": f"single {text[:40]}"}])
        client.pause(rng.uniform(0, 1))

    def consume(client: Client) -> None:
        """Lose no answer, so that the journal has each claim and each deletion."""
        nonlocal attempts
        attempts += 1
        most, attempt = rng.randint(1, 3), str(attempts)
        while not (
            answer := client.consume(QUEUE, visibility_timeout=_TIMEOUT_S, most=most, attempt_id=attempt)
        ).is_done:
            client.pause(0.02)
        held.extend(answer.answer)
        while len(held) > rng.randint(0, 8):
            message = held.pop(rng.randrange(len(held)))
            while client.delete(QUEUE, message).is_unknown:
                client.pause(0.02)

    tenants = producer(rng, QUEUE, most=8, backlog=200, pause_s=0.02, fields=lambda: {"group": rng.choice("abc")})
    return [tenants, lone, consume]


@dataclass
class _Claim:
    """An attempt of the only consumer with all of its repetitions: carried out at one moment between ``began_s`` and ``ended_s``."""

    began_s: float = NEVER
    ended_s: float = 0
    lives: set[int] = field(default_factory=set)
    deliveries: list[Delivery] = field(default_factory=list)


def _claims(history: QueueHistory) -> list[_Claim]:
    claims: dict[str, _Claim] = defaultdict(_Claim)
    for consume in history.consumes:
        if "attempt_id" in consume.sent:
            claim = claims[consume.sent["attempt_id"]]
            claim.began_s = min(claim.began_s, consume.began_s)
            claim.ended_s = consume.ended_s
            claim.lives.add(consume.life)
    for delivery in history.deliveries:
        if "attempt_id" in delivery.exchange.sent:
            claims[delivery.exchange.sent["attempt_id"]].deliveries.append(delivery)
    return sorted(claims.values(), key=lambda claim: claim.began_s)


def judge(journal: Journal) -> Verdict:
    """Follow the only consumer: what it holds is known, so each choice of the broker can be judged."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    claims = _claims(history)
    _judge_choices(verdict, history, claims, list(_ends_of_claims(history)))
    _judge_singles(verdict, history, claims)
    return verdict


def _group(message: Message) -> str:
    return str(message.sending.fields["group"])


def _ends_of_claims(history: QueueHistory) -> Iterable[tuple[float, str]]:
    """Yield the time at which each deletion began, and the group of its message. Deletions never overlap with claims."""
    for message in history.messages.values():
        if message.maybe_gone_from() < NEVER:
            yield message.maybe_gone_from(), _group(message)


def _judge_choices(
    verdict: Verdict, history: QueueHistory, claims: Sequence[_Claim], ends: Sequence[tuple[float, str]]
) -> None:
    held: Counter[str] = Counter()
    turns: dict[str, tuple[int, float]] = {}  # number and end of the last turn of each group in this life
    left = dict(history.messages)
    ends = sorted(ends)
    position, number, lives = 0, 0, {0}
    for claim in claims:
        while position < len(ends) and ends[position][0] < claim.began_s:
            held[ends[position][1]] -= 1
            position += 1
        if claim.lives != lives:
            turns, lives = {}, claim.lives
        for delivery in claim.deliveries:
            mine = history.messages[delivery.text]
            left.pop(mine.text, None)
            available: dict[str, Message] = {}
            for message in left.values():
                if message.exists and message.sending.exchange.ended_s < claim.began_s:
                    available.setdefault(_group(message), message)
            _judge_choice(verdict, mine, available, held, turns, claim)
            number += 1
            held[_group(mine)] += 1
            turns[_group(mine)] = number, claim.began_s


def _judge_choice(
    verdict: Verdict,
    mine: Message,
    available: dict[str, Message],
    held: Counter[str],
    turns: dict[str, tuple[int, float]],
    claim: _Claim,
) -> None:
    group = _group(mine)
    for other, message in available.items():
        if other == group:
            continue
        if held[other] != held[group]:
            verdict.saw(FEWEST)
            if held[other] < held[group]:
                verdict.report(
                    f"{mine.text!r} of group {group} with {held[group]} in process came before {message.text!r} of group"
                    f" {other} with {held[other]}",
                    *(each.exchange for each in claim.deliveries),
                    message.sending.exchange,
                )
        elif (
            len(claim.lives) == 1
            and group in turns
            and other in turns
            # The other group has not been empty since its last turn: this message waited already.
            and message.sending.exchange.ended_s < turns[other][1]
        ):
            verdict.saw(TURNS)
            if turns[other][0] < turns[group][0]:
                verdict.report(
                    f"group {group} had another turn before group {other}, which waited longer",
                    *(each.exchange for each in claim.deliveries),
                    message.sending.exchange,
                )


def _judge_singles(verdict: Verdict, history: QueueHistory, claims: Sequence[_Claim]) -> None:
    claimed_s = {each.text: claim.began_s for claim in claims for each in claim.deliveries}
    for message in history.messages.values():
        sent = message.sending.exchange
        is_lone = _group(message).startswith("single") and message.exists
        if not is_lone or claimed_s.get(message.text, NEVER) < sent.ended_s:
            continue
        verdict.saw(SINGLES)
        before: Counter[str] = Counter()
        lives: set[int] = set()
        evidence: list[Exchange] = [sent]
        for claim in claims:
            if claim.began_s < sent.ended_s:
                continue
            lives |= claim.lives
            for delivery in claim.deliveries:
                evidence.append(delivery.exchange)
                if delivery.text == message.text:
                    break
                before[_group(history.messages[delivery.text])] += 1
            else:
                continue
            break
        if before and max(before.values()) > len(lives):
            verdict.report(
                f"{message.text!r} waited for {dict(before)}, in {len(lives)} lives of the broker", *evidence
            )


SCENARIO = Scenario(
    name="fairness",
    promises=(
        (
            "The next message belongs to the group with the fewest messages being processed. Among equal groups, the one whose last"
            " turn was longest ago comes first."
        ),
        (
            "A group with a single message therefore waits for at most one message of each other group, even if one of them has a"
            " million. Each restart meanwhile may add one message of each."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=listed(QUEUE),
    judge=judge,
    required=(SINGLES, FEWEST, TURNS),
)
