"""ETags of lists and of the overview, and answers that dashboards share. Nobody else gets an old answer."""

from __future__ import annotations

from pathlib import Path

import falcon
import msgspec
import pytest
from falcon.testing import Result, create_req

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.rest import shared_answers
from wonderq.rest.shared_answers import Answer, SharedAnswers

LISTS = ("/queues", "/queues?limit=10&figures=true", "/dev/messages", "/dev/messages/status?status=unprocessed")
VIEWS = (
    "/queues/default?figures=true",
    "/queues?limit=10&figures=true",
    "/overview",
    "/overview/history",
    "/queues/default/history",
)


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client(Broker(MemoryLog(), clock=clock))


def ask(client: Client, path: str, *, age: int | None = None, etag: str = "", **headers: str) -> Result:
    if age is not None:
        headers["Cache-Control"] = f"max-age={age}"
    return client("GET", path, headers={**headers, **({"If-None-Match": etag} if etag else {})})


@pytest.mark.parametrize("path", sorted({*LISTS, *VIEWS}))
def test_what_has_not_changed_is_not_sent_again(client: Client, clock: FakeClock, path: str) -> None:
    first = ask(client, path)
    again = ask(client, path, etag=first.headers["etag"])
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    client.produce("new")
    client.broker.overview._due_s = 0
    clock.advance(10)
    client.broker.history.run()
    changed = ask(client, path, etag=first.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(("count", "is_whole"), [(51, True), (151, False)])
def test_a_page_of_a_list_is_sent_whole_and_a_longer_list_is_not(client: Client, count: int, is_whole: bool) -> None:
    client.produce(*["x" * 1500] * count)
    reply = ask(client, "/dev/messages")
    assert len(reply.json) == count
    assert {"etag", "content-length"} & reply.headers.keys() == ({"etag", "content-length"} if is_whole else set())


def test_the_time_alone_is_no_change(client: Client, clock: FakeClock) -> None:
    first = ask(client, "/overview")
    clock.advance(1)
    second = ask(client, "/overview")
    assert first.json["now"] != second.json["now"]
    assert first.headers["etag"] == second.headers["etag"]


@pytest.mark.parametrize("path", VIEWS)
def test_who_names_no_age_gets_an_answer_of_this_moment(client: Client, clock: FakeClock, path: str) -> None:
    before = ask(client, path, age=1000).headers["etag"]
    client.produce("new")
    client.broker.overview._due_s = 0
    clock.advance(10)
    client.broker.history.run()
    assert ask(client, path, age=1000).headers["etag"] == before, "this one may be old"
    now = ask(client, path).headers["etag"]
    assert now != before
    assert ask(client, path, age=0).headers["etag"] == now
    assert ask(client, path, age=1000).headers["etag"] == now, "the newest one is shared"


def test_one_form_is_not_another(client: Client) -> None:
    path = "/queues?limit=10&figures=true"
    json = ask(client, path, age=1000)
    packed = ask(client, path, age=1000, Accept="application/msgpack")
    assert msgspec.msgpack.decode(packed.content)[0]["queue"] == json.json[0]["queue"] == "default"
    assert len(ask(client, "/queues?limit=11&figures=true", age=1000).json) == 1


def test_an_answer_is_not_for_a_key_that_sees_something_else(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    grants: list[tuple[str, Role, str]] = [("a", "admin", "*"), ("b", "look", "mail*"), ("c", "look", "mail*")]
    admin, mailer, other = (
        keys.create(path, name=name, roles=[role], queues=[queues])[1] for name, role, queues in grants
    )
    client = Client(Broker(MemoryLog()), Access(Keys(path)))
    client.broker.put_queue("mail")
    client.broker.put_queue("secret")

    def seen(key: str, path: str) -> Result:
        return ask(client, path, age=1000, Authorization=f"Bearer {key}")

    for _ in range(2):
        for key, count in ((admin, 3), (mailer, 1), (other, 1)):
            assert len(seen(key, "/queues?limit=10&figures=true").json) == count
            assert seen(key, "/overview").json["queues"] == count
    assert [seen(key, "/overview").json["access"]["name"] for key in (admin, mailer, other)] == ["a", "b", "c"]


def make(data: bytes) -> Answer:
    return Answer(data, "text/plain", shared_answers.etag_of(data))


class Reader:
    """Asks for answers that are numbered as they are made."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.answers = SharedAnswers(lambda: self.now_s)
        self.made = 0
        self.size = 1

    def ask(self, query: str = "", age: int | None = 10) -> bytes:
        headers = {} if age is None else {"Cache-Control": f"no-transform, max-age={age}"}
        req, resp = create_req(path="/x", query_string=query, headers=headers), falcon.Response()
        self.answers.respond(req, resp, None, self._make)
        assert resp.data is not None
        return resp.data.strip()

    def _make(self) -> Answer:
        self.made += 1
        return make(str(self.made).encode().ljust(self.size))


def test_an_answer_is_shared_until_it_is_too_old() -> None:
    reader = Reader()
    assert reader.ask() == b"1"
    reader.now_s = 9
    assert reader.ask() == b"1"
    assert reader.ask(age=9) == b"2"
    reader.now_s = 18.5
    assert reader.ask() == b"2", "it is as old as its own making"
    reader.now_s = 19
    assert reader.ask() == b"3"


def test_the_oldest_answers_are_forgotten() -> None:
    reader = Reader()
    for number in range(shared_answers._KEPT + 1):
        reader.ask(f"q={number}")
    assert len(reader.answers._answers) == shared_answers._KEPT
    assert reader.ask("q=1") == b"2"
    assert reader.ask("q=0") == b"66"


def test_a_large_answer_is_not_kept() -> None:
    reader = Reader()
    reader.size = shared_answers._LARGEST_BYTES + 1
    assert (reader.ask(), reader.ask()) == (b"1", b"2")
