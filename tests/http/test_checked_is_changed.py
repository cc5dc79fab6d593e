"""A call changes the very thing that its key was checked for, also if somebody else makes a change in between.

Each call is made once for every moment at which the broker's lock is free, and the other's change is made at that moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from falcon.testing import Result

from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker

#: More moments than any of these calls has.
MOST = 30

SCHEDULE = {"cron": "0 0 * * *", "queue": "a-1", "message": "of a"}


class HookedLock:
    """A lock that calls a function after it was released ``at`` times, while it is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.at = -1
        self.between: Callable[[], object] = lambda: None

    def acquire(self) -> bool:
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()
        self.at -= 1
        if self.at == 0:
            self.between()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class World:
    """A broker with the queues of two tenants, a key for the queues ``a-*``, and a moment for the other's change."""

    def __init__(self, path: Path) -> None:
        _, key = keys.create(path, name="k", roles=["admin"], queues=["a-*"])
        self.broker = Broker(MemoryLog())
        self.lock = HookedLock()
        core: Any = self.broker.core
        core.lock = core.transaction._lock = self.lock
        self.client = Client(self.broker, Access(Keys(path)))
        self._headers = {"Authorization": f"Bearer {key}"}
        for name in ("a-1", "a-2", "a-dead", "secret"):
            self.broker.put_queue(name)
        self.task = self.broker.redrives.start("secret", "a-1", per_second=1)

    def rest(self, method: str, target: str, **fields: Any) -> Result:
        return self.client(method, target, json=fields or None, headers=self._headers)

    def sqs(self, action: str, **fields: str) -> Result:
        body = urlencode({"Action": action, **fields})
        return self.client(
            "POST", "/", body=body, media_type="application/x-www-form-urlencoded", headers=self._headers
        )

    def schedule_of(self, queue: str) -> None:
        """Give the name ``x`` to a schedule of another queue, as the admin of all queues does."""
        if any(each.name == "x" for each in self.broker.schedules.list()):
            self.broker.schedules.delete("x")
        self.broker.schedules.put("x", cron="0 0 * * *", queue=queue, body=f"of {queue}")

    def state(self) -> dict[str, Any]:
        """Return what the key may not change, and what its changes would lead to."""
        settings = self.broker.queue("a-1").settings
        return {
            "schedules": {each.name: (each.queue, each.body) for each in self.broker.schedules.list()},
            "letters": (settings.max_receives, settings.dead_letter_queue),
            "task": self.broker.redrives.get(self.task).status,
        }


class Case(NamedTuple):
    """A call, the change of somebody else, and a check of the state at that moment, the state after, and the reply."""

    call: Callable[[World], Result]
    other: Callable[[World], object]
    check: Callable[[dict[str, Any], dict[str, Any], Result], None]
    before: Callable[[World], object] = lambda _: None


def keeps_schedule_of_secret(_then: dict[str, Any], after: dict[str, Any], reply: Result) -> None:
    assert after["schedules"] == {"x": ("secret", "of secret")}, reply.text
    assert "secret" not in reply.text


def is_refused_unless_it_was_first(then: dict[str, Any], after: dict[str, Any], reply: Result) -> None:
    assert after["letters"][1] == "secret"
    if then["letters"][0]:
        assert reply.status_code == 200
    else:
        assert (after["letters"][0], reply.status_code) == (0, 403)


def leaves_the_task(_then: dict[str, Any], after: dict[str, Any], reply: Result) -> None:
    assert after["task"] == "running"
    assert reply.status_code in (400, 404)


def moves_nothing(_then: dict[str, Any], _after: dict[str, Any], reply: Result) -> None:
    assert reply.status_code == 403


def obeys_the_policy(then: dict[str, Any], after: dict[str, Any], reply: Result) -> None:
    assert after["letters"][1] == then["letters"][1], reply.text
    assert (reply.status_code == 200) == (after["letters"][1] == "a-dead")


_POLICY = {"Attribute.1.Name": "RedrivePolicy"}
_TO_A_DEAD = '{"deadLetterTargetArn":"arn:aws:sqs:x:0:a-dead","maxReceiveCount":3}'
_SOURCE = {"SourceArn": "arn:aws:sqs:x:0:a-dead"}

CASES = {
    "schedule changed": Case(
        lambda world: world.rest("PUT", "/schedules/x", message="changed"),
        lambda world: world.schedule_of("secret"),
        keeps_schedule_of_secret,
        lambda world: world.schedule_of("a-1"),
    ),
    "schedule taken": Case(
        lambda world: world.rest("PUT", "/schedules/x", **SCHEDULE),
        lambda world: world.schedule_of("secret"),
        keeps_schedule_of_secret,
        lambda world: world.schedule_of("a-1"),
    ),
    "schedule created": Case(
        lambda world: world.rest("PUT", "/schedules/x", **SCHEDULE),
        lambda world: world.schedule_of("secret"),
        keeps_schedule_of_secret,
    ),
    "schedule deleted": Case(
        lambda world: world.rest("DELETE", "/schedules/x"),
        lambda world: world.schedule_of("secret"),
        keeps_schedule_of_secret,
        lambda world: world.schedule_of("a-1"),
    ),
    "schedule read": Case(
        lambda world: world.rest("GET", "/schedules/x"),
        lambda world: world.schedule_of("secret"),
        keeps_schedule_of_secret,
        lambda world: world.schedule_of("a-1"),
    ),
    "dead letters sent": Case(
        lambda world: world.rest("PUT", "/queues/a-1", max_receives=1),
        lambda world: world.broker.put_queue("a-1", dead_letter_queue="secret"),
        is_refused_unless_it_was_first,
    ),
    "dead letters sent by SQS": Case(
        lambda world: world.sqs("SetQueueAttributes", QueueUrl="http://x/000000000000/a-1", **{
            **_POLICY, "Attribute.1.Value": _TO_A_DEAD}),
        lambda world: world.broker.put_queue(
            "a-dead", sqs={"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'}),
        obeys_the_policy,
    ),
    "redrive cancelled": Case(
        lambda world: world.rest("DELETE", f"/queues/a-1/redrive/{world.task}"),
        lambda world: world.broker.put_queue("a-1", delay_ms=1),
        leaves_the_task,
    ),
    "task cancelled by SQS": Case(
        lambda world: world.sqs("CancelMessageMoveTask", TaskHandle=world.task),
        lambda world: world.broker.put_queue("a-1", delay_ms=1),
        leaves_the_task,
    ),
    "letters moved back by SQS": Case(
        lambda world: world.sqs("StartMessageMoveTask", **_SOURCE),
        lambda world: world.broker.put_queue("secret", dead_letter_queue="a-dead"),
        moves_nothing,
        lambda world: world.broker.put_queue("a-1", dead_letter_queue="a-dead"),
    ),
}  # fmt: skip


def moments(case: Case, path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any], Result]]:
    """Make the call with the other's change at each moment; yield the states then and after, and the reply."""
    for at in range(MOST):
        world, then = World(path), dict[str, Any]()
        case.before(world)

        def between(world: World = world, then: dict[str, Any] = then) -> None:
            then.update(world.state())
            case.other(world)

        if not at:
            between()
        world.lock.at, world.lock.between = at, between
        reply = case.call(world)
        world.lock.at = -1
        if not then:
            return
        yield then, world.state(), reply
    raise AssertionError("the call has more moments than this test expects")


@pytest.mark.parametrize("name", CASES)
def test_at_no_moment_can_a_change_of_another_be_met(name: str, tmp_path: Path) -> None:
    seen = 0
    for then, after, reply in moments(CASES[name], tmp_path / "keys.json"):
        CASES[name].check(then, after, reply)
        seen += 1
    assert seen, "the call takes no lock at all"


@pytest.mark.parametrize(
    ("method", "fields"), [("GET", {}), ("DELETE", {}), ("PUT", {"paused": True}), ("PUT", {"queue": "secret"})]
)
def test_no_refusal_tells_which_schedules_there_are(tmp_path: Path, method: str, fields: dict[str, Any]) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.schedules.put("x", cron="0 0 * * *", queue="secret", body="of secret")
    there, missing = (world.rest(method, f"/schedules/{name}", **fields) for name in ("x", "y"))
    assert (there.status_code, there.text.replace("'x'", "'y'")) == (missing.status_code, missing.text)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_refusal_tells_which_tasks_there_are(tmp_path: Path, method: str) -> None:
    world = World(tmp_path / "keys.json")
    there, missing = (world.rest(method, f"/queues/a-1/redrive/{task}") for task in (world.task, "0"))
    assert (there.status_code, there.text) == (missing.status_code, missing.text)
    unknown = "00000000-0000-4000-8000-000000000000"
    there, missing = (world.sqs("CancelMessageMoveTask", TaskHandle=task) for task in (world.task, unknown))
    assert there.status_code == missing.status_code
    assert "Task does not exist" in there.text
    assert "Task does not exist" in missing.text


def test_a_name_that_is_taken_is_refused_without_its_queue(tmp_path: Path) -> None:
    world = World(tmp_path / "keys.json")
    world.schedule_of("secret")
    reply = world.rest("PUT", "/schedules/x", **SCHEDULE)
    check_refused(reply, 403, "forbidden")
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", {}),
        ("DELETE", {}),
        ("PUT", {"paused": True}),
        ("PUT", {"queue": "secret"}),
        ("PUT", {"queue": "nothing"}),
        ("PUT", {"dead_letter_queue": "secret"}),
        ("PUT", {"endpoint": "http://localhost/", "queue": "secret"}),
        ("PUT", {"queue": "a-2"}),
        ("PUT", {"queue": "a-1", "filter": {"x": []}}),
    ],
    ids=str,
)
def test_no_refusal_tells_which_subscriptions_there_are(tmp_path: Path, method: str, fields: dict[str, Any]) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.topics.put("a-news")
    world.broker.topics.subscribe("a-news", "x", queue="secret", when_full="skip", dead_letter_queue="a-dead")
    world.broker.topics.subscribe("a-news", "own", queue="a-2")
    there, missing = (world.rest(method, f"/topics/a-news/subscriptions/{name}", **fields) for name in ("x", "y"))
    if fields == {"queue": "a-1", "filter": {"x": []}}:
        check_refused(there, 403, "forbidden")
        assert "secret" not in there.text
    else:
        assert (there.status_code, there.text.replace("x", "y")) == (
            missing.status_code,
            missing.text.replace("x", "y"),
        )
    assert world.broker.topics.subscription("a-news", "x").queue == "secret"


@pytest.mark.parametrize("field", ["queue", "dead_letter_queue"])
@pytest.mark.parametrize("name", ["x", "own", "y"])
def test_no_refusal_tells_which_queues_subscriptions_have(tmp_path: Path, field: str, name: str) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.topics.put("a-news")
    world.broker.topics.subscribe("a-news", "x", queue="secret")
    world.broker.topics.subscribe("a-news", "own", queue="a-2")
    fields = {"when_full": "skip"} if field == "dead_letter_queue" else {}
    replies = [
        world.rest("PUT", f"/topics/a-news/subscriptions/{name}", **{**fields, field: queue})
        for queue in ("secret", "nothing")
    ]
    for reply in replies:
        check_refused(reply, 403, "forbidden")
    there, missing = replies
    assert there.text.replace("secret", "nothing") == missing.text


def test_a_dead_letter_queue_that_others_have_chosen_is_not_named(tmp_path: Path) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.topics.put("a-news")
    world.broker.topics.subscribe("a-news", "x", queue="a-1", when_full="skip", dead_letter_queue="secret")
    reply = world.rest("PUT", "/topics/a-news/subscriptions/x", paused=True)
    check_refused(reply, 403, "forbidden")
    assert "secret" not in reply.text


def test_an_sns_client_ends_no_subscription_that_it_does_not_see(tmp_path: Path) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.topics.put("a-news")
    world.broker.topics.subscribe("a-news", "x", queue="secret")
    arn = "arn:aws:sns:us-east-1:000000000000:a-news:"
    there, missing = (world.sqs("Unsubscribe", SubscriptionArn=arn + name) for name in ("x", "y"))
    assert there.status_code == missing.status_code == 200
    assert world.broker.topics.subscription("a-news", "x").queue == "secret"


def test_no_refusal_of_sqs_tells_which_queues_there_are(tmp_path: Path) -> None:
    world = World(tmp_path / "keys.json")
    texts = []
    for name in ("secret", "nothing"):
        policy = _TO_A_DEAD.replace("a-dead", name)
        for action, field in (("SetQueueAttributes", "QueueUrl"), ("CreateQueue", "QueueName")):
            given = {field: "a-1" if action == "SetQueueAttributes" else "a-new"}
            reply = world.sqs(action, **given, **_POLICY, **{"Attribute.1.Value": policy})
            texts.append((reply.status_code, "AccessDenied" in reply.text))
    assert set(texts) == {(403, True)}


def test_the_figures_of_a_queue_name_no_source_that_the_key_does_not_open(tmp_path: Path) -> None:
    world = World(tmp_path / "keys.json")
    for source in ("secret", "a-1"):
        world.broker.put_queue(source, max_receives=1, dead_letter_queue="a-dead")
    assert world.rest("GET", "/queues/a-dead?figures=true").json["figures"]["sources"] == ["a-1"]
    for target in ("/queues?figures=true&limit=9", "/queues?figures=true"):
        listed = {each["queue"]: each["figures"]["sources"] for each in world.rest("GET", target).json}
        assert listed["a-dead"] == ["a-1"]


# Several queues in one call


@pytest.mark.parametrize("order", [("a-1", "secret"), ("secret", "a-1"), ("secret", "secret")])
def test_a_hand_over_is_for_keys_that_open_all_its_queues(tmp_path: Path, order: tuple[str, str]) -> None:
    world = World(tmp_path / "keys.json")
    world.broker.produce("a-2", ["x"])
    [message] = world.broker.claim("a-2")
    produce = [{"message": "y", "queue": queue} for queue in order]
    reply = world.rest("POST", "/queues/a-2/messages/hand-over", receipts=[message.receipt], produce=produce)
    check_refused(reply, 403, "forbidden")
    counts = [len(list(world.broker.messages(queue))) for queue in ("a-1", "a-2", "secret")]
    assert counts == [0, 1, 0]


@pytest.mark.parametrize("sources", [("a-1",), ("a-1", "secret"), ("secret",)])
def test_letters_go_back_by_keys_for_all_queues_only(tmp_path: Path, sources: tuple[str, ...]) -> None:
    """The letters name the queues that they came from, whatever is configured now. REST has the same rule."""
    world = World(tmp_path / "keys.json")
    world.broker.put_queue("secret", max_receives=1, dead_letter_queue="a-dead")
    world.broker.produce("secret", ["letter"])
    world.broker.claim("secret", visibility_timeout_ms=0)
    assert world.broker.claim("secret") == []
    world.broker.put_queue("secret", max_receives=0, dead_letter_queue="")
    for source in sources:
        world.broker.put_queue(source, dead_letter_queue="a-dead")
    assert world.sqs("StartMessageMoveTask", **_SOURCE).status_code == 403
    assert world.rest("POST", "/queues/a-dead/redrive").status_code == 403
    world.broker.redrives.cancel(world.task)
    world.broker.redrives.run()
    assert [message.body for message in world.broker.messages("a-dead")] == ["letter"]
    to = {"DestinationArn": "arn:aws:sqs:x:0:a-2"}
    assert world.sqs("StartMessageMoveTask", **_SOURCE, **to).status_code == 200
