"""Keys in a cluster: the node that a client asks checks the key, and the owner acts for that key."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge_cluster import EdgeCluster, Reply, edge_cluster
from tests.support.nats_servers import NatsCluster, needs_nats
from tests.support.sqs_clients import RefusedError, boto_client, call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.grants import Grants
from wonderq.auth.keys import Keys
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.edge_app import EdgeSettings
from wonderq.model.masks import Mask

pytestmark = needs_nats


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def cluster(nats: NatsCluster, key_file: Path) -> Iterator[EdgeCluster]:
    settings = EdgeSettings(retry_s=0.4, mask=Mask([r"\d{4,}"]))
    with edge_cluster(nats.url, access=lambda: Access(Keys(key_file)), settings=settings) as found:
        yield found


@pytest.fixture
def bearer(key_file: Path) -> Callable[..., dict[str, str]]:
    """Make keys, and return the headers that show them."""

    def make(*roles: Role, queues: tuple[str, ...] = ("*",), rate: int | None = None) -> dict[str, str]:
        _, text = keys.create(key_file, name="k", roles=roles, queues=queues, requests_per_second=rate)
        return {"Authorization": f"Bearer {text}"}

    return make


def test_a_key_is_checked_at_the_edge_and_holds_at_the_owner(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]
) -> None:
    queue = cluster.queue_of(1)
    admin = bearer("admin")
    sender, consumer = bearer("produce", queues=(queue,)), bearer("consume", queues=(queue,))
    for access in [node.access for node in cluster.nodes.values()]:
        assert access is not None
        access._keys.reload()
    for node in (cluster.other(queue), cluster.owner(queue)):
        produce, path = {"message": "x"}, f"/queues/{queue}/messages"
        assert node("POST", f"{path}/produce", json=produce, headers=sender).status == 201
        assert node("POST", f"{path}/produce", json=produce, headers=consumer).status == 403
        assert node("POST", f"{path}/produce", json=produce).status == 401
        assert node("POST", f"/queues/z{queue}/messages/produce", json=produce, headers=sender).status == 403
        [message] = node("GET", f"{path}/consume", headers=consumer).json
        # Without the receipt it needs the role admin, which only the owner's application finds out.
        assert node("DELETE", f"{path}/{message['id']}", headers=consumer).status == 403
        assert node("DELETE", f"{path}/{message['id']}", headers=admin).status == 200
        asked = {"queues": [queue, f"{queue}--b"]}
        assert node("POST", "/messages/consume", json=asked, headers=consumer).status == 403
        assert [each["queue"] for each in node("GET", "/queues", headers=admin).json]


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/messages/consume", {"queues": ["{queue}"]}),
        ("GET", "/queues", None),
        ("GET", "/search", None),
        ("GET", "/schedules", None),
        ("GET", "/overview", None),
        ("DELETE", "/queues/{queue}/messages/{id}", None),
    ],
)
def test_a_key_that_ends_after_it_was_authorized_permits_nothing(
    cluster: EdgeCluster,
    bearer: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    fields: dict[str, list[str]] | None,
) -> None:
    queue = cluster.queue_of(1)
    admin = bearer("admin")
    roles: tuple[Role, ...] = ("look", "inspect") if method == "GET" else ("consume",)
    other = bearer(*roles, queues=("default",) if path == "/messages/consume" else (queue,))
    for access in [each.access for each in cluster.nodes.values()]:
        assert access is not None
        access._keys.reload()
    made = cluster.owner(queue)("POST", f"/queues/{queue}/messages/produce", json={"message": "x"}, headers=admin)
    find, seen = Access.find, Counter[str | None]()

    def find_once(access: Access, authorization: str | None) -> Any:
        seen[authorization] += 1
        is_over = authorization == other["Authorization"] and seen[authorization] > 1
        return None if is_over else find(access, authorization)

    monkeypatch.setattr(Access, "find", find_once)
    target = path.format(queue=queue, id=made.json["id"])
    sent = None if fields is None else {"queues": [queue]}
    reply = cluster.other(queue)(method, target, json=sent, headers=other)
    assert (reply.status, seen[other["Authorization"]]) == (401, 2), reply.content


def test_listings_show_what_the_key_opens(cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]) -> None:
    names = [cluster.queue_of(shard) for shard in range(cluster.count)]
    admin, reader = bearer("admin"), bearer("inspect", queues=tuple(names[:2]))
    for node in cluster.nodes.values():
        assert node.access is not None
        node.access._keys.reload()
    for name in names:
        assert cluster.nodes["a"]("PUT", f"/queues/{name}", headers=admin).status == 201
    for node in cluster.nodes.values():
        assert [each["queue"] for each in node("GET", "/queues", headers=reader).json] == sorted(names[:2])
        assert node("GET", "/overview", headers=reader).json["queues"] == 2
        assert node("GET", "/overview/history", headers=reader).status == 403


def test_no_client_can_pretend_that_a_node_has_checked_its_key(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]
) -> None:
    queue = cluster.queue_of(1)
    bearer("admin")
    for node in cluster.nodes.values():
        assert node.access is not None
        node.access._keys.reload()
        forged = Grants().header_of(None)
        for value in (forged, "Granted -", "Granted  -", forged.replace("Granted", "granted")):
            reply = node("PUT", f"/queues/{queue}", headers={"Authorization": value})
            assert (reply.status, reply.code) == (401, "unauthorized")


def test_a_request_counts_once_for_the_rate_of_its_key(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]
) -> None:
    queue = cluster.queue_of(1)
    owner, other = cluster.owner(queue), cluster.other(queue)
    key = bearer("admin", rate=1)
    for node in (owner, other):
        assert node.access is not None
        node.access._keys.reload()
    assert other("PUT", f"/queues/{queue}", headers=key).status == 201
    refused = [other("GET", f"/queues/{queue}", headers=key) for _ in range(3)]
    assert 429 in [each.status for each in refused], "the edge counts"
    assert owner("GET", f"/queues/{queue}", headers=key).status == 200, "and the owner has not counted them"


@pytest.mark.parametrize("is_sqs", [False, True])
def test_a_key_that_expires_at_the_owner_first_is_refused_as_any_expired_key(
    cluster: EdgeCluster, key_file: Path, is_sqs: bool
) -> None:
    queue, end = cluster.queue_of(1), datetime(2100, 1, 1, tzinfo=UTC)
    _, text = keys.create(key_file, name="k", roles=["admin"], queues=["*"], expires_at=end)
    owner, other = cluster.owner(queue), cluster.other(queue)
    assert owner.access is not None
    assert other.access is not None
    for access in (owner.access, other.access):
        access._keys.reload()
    owner.access._keys._now_s = end.timestamp
    # The clock of the other node reaches the end when the owner has refused the request once.
    waiting = other.assembly.carrier._waiting
    other.access._keys._now_s = lambda: end.timestamp() - (0 if 1 in waiting else 1)
    headers = {"Authorization": f"Bearer {text}"}
    if is_sqs:
        headers |= {"X-Amz-Target": "AmazonSQS.CreateQueue", "Content-Type": "application/x-amz-json-1.0"}
        reply = other("POST", "/", json={"QueueName": queue}, headers=headers)
        assert (reply.status, reply.headers["x-amzn-query-error"].split(";")[0]) == (403, "MissingAuthenticationToken")
    else:
        reply = other("PUT", f"/queues/{queue}", headers=headers)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert cluster.owner(queue).shards.brokers[1].queries.queue_names() == []


@pytest.fixture
def lose(cluster: EdgeCluster, key_file: Path) -> Callable[..., Reply]:
    """Ask the owner for something, and let it lose its shard before the record of that is durable."""

    def lose(method: str, path: str, *, meanwhile: Callable[[], None] = lambda: None, **sent: Any) -> Reply:
        owner, log = cluster.nodes["b"], cluster.logs[1]
        for node in cluster.nodes.values():
            assert node.access is not None
            node.access._keys.reload()
        before = len(log.records)
        log.hold()
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(owner(method, path, **sent)))
        thread.start()
        eventually(lambda: len(log.records) > before, "the record")
        former = cluster.depose(1, "a")
        meanwhile()
        former.release()
        thread.join(PATIENCE_S)
        [reply] = replies
        return reply

    return lose


def test_a_request_that_is_made_again_elsewhere_counts_once_for_the_rate_of_its_key(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]], lose: Callable[..., Reply]
) -> None:
    queue, key = cluster.queue_of(1), bearer("admin", rate=1)
    body = {"message": "x", "idempotency_key": "k"}
    reply = lose("POST", f"/queues/{queue}/messages/produce", json=body, headers=key)
    assert reply.status == 201, reply.content


def test_the_rate_of_a_key_does_not_hide_that_the_outcome_is_unknown(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]], lose: Callable[..., Reply]
) -> None:
    queue, key = cluster.queue_of(1), bearer("admin", rate=1)
    reply = lose("POST", f"/queues/{queue}/messages/produce", json={"message": "x"}, headers=key)
    assert (reply.status, reply.code) == (503, "outcome_unknown")


def test_a_key_that_ends_meanwhile_does_not_hide_that_the_outcome_is_unknown(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]], lose: Callable[..., Reply], key_file: Path
) -> None:
    queue, key = cluster.queue_of(1), bearer("admin")
    keys_of_owner = cluster.nodes["b"].access

    def end() -> None:
        assert keys_of_owner is not None
        bearer("admin")  # or there would be no keys at all, and everything would be permitted
        keys.revoke(key_file, [keys_of_owner.keys[0].id])
        keys_of_owner._keys.reload()

    reply = lose("POST", f"/queues/{queue}/messages/produce", json={"message": "x"}, headers=key, meanwhile=end)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "outcome_unknown", "1")


@pytest.mark.parametrize("is_over", [False, True])
def test_a_call_of_sqs_whose_outcome_is_unknown_is_told_so(
    cluster: EdgeCluster,
    bearer: Callable[..., dict[str, str]],
    lose: Callable[..., Reply],
    key_file: Path,
    is_over: bool,
) -> None:
    queue = cluster.queue_of(1)
    key = bearer("admin", rate=1)
    keys_of_owner = cluster.nodes["b"].access

    def end() -> None:
        assert keys_of_owner is not None
        if is_over:
            bearer("admin")
            keys.revoke(key_file, [keys_of_owner.keys[0].id])
            keys_of_owner._keys.reload()

    headers = {**key, "X-Amz-Target": "AmazonSQS.CreateQueue", "Content-Type": "application/x-amz-json-1.0"}
    reply = lose("POST", "/", json={"QueueName": queue}, headers=headers, meanwhile=end)
    assert reply.status == 503
    assert b"may or may not have carried out" in reply.content


def test_a_key_that_is_too_fast_is_refused_although_the_shard_is_lost(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application of the former owner has refused the request. That must not count as permission elsewhere."""
    queue, key = cluster.queue_of(1), bearer("admin", rate=1)
    owner = cluster.nodes["b"]
    assert owner.access is not None
    owner.access._keys.reload()
    assert owner("PUT", f"/queues/{queue}", headers=key).status == 201
    monkeypatch.setattr(Broker, "unready", "it was lost")
    assert owner("PUT", f"/queues/{queue}", headers=key).status == 429


def test_sqs_clients_sign_for_the_node_that_they_ask(cluster: EdgeCluster, key_file: Path) -> None:
    queue = cluster.queue_of(1)
    good, _ = keys.create(key_file, name="sqs", roles=["admin"], queues=[queue], for_sqs=True)
    for node in cluster.nodes.values():
        assert node.access is not None
        node.access._keys.reload()
    assert good.sqs_secret is not None
    for node in cluster.nodes.values():
        client = boto_client(node.url, good.access_key_id, good.sqs_secret)
        url = call(client, "CreateQueue", QueueName=queue)["QueueUrl"]
        call(client, "SendMessage", QueueUrl=url, MessageBody="x")
        [message] = call(client, "ReceiveMessage", QueueUrl=url)["Messages"]
        call(client, "DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert call(client, "ListQueues")["QueueUrls"] == [url]
        with pytest.raises(RefusedError, match="does not open"):
            call(client, "CreateQueue", QueueName=f"z{queue}")
        wrong = boto_client(node.url, good.access_key_id, "wrong")
        with pytest.raises(RefusedError) as refused:
            call(wrong, "SendMessage", QueueUrl=url, MessageBody="x")
        assert refused.value.code == "SignatureDoesNotMatch"


def test_the_mask_of_the_dashboard_holds_at_every_owner(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]
) -> None:
    queue = cluster.queue_of(1)
    other = cluster.other(queue)
    other("POST", f"/queues/{queue}/messages/produce", json={"message": "card 123456"})
    of_ui = {"X-WonderQ-UI": "1", "Sec-Fetch-Site": "same-origin"}
    for node in cluster.nodes.values():
        [shown] = node("GET", f"/queues/{queue}/dev/messages", headers=of_ui).json
        assert "123456" not in shown["message"]
        [plain] = node("GET", f"/queues/{queue}/dev/messages").json
        assert "123456" in plain["message"]


def test_a_session_of_the_dashboard_counts_at_its_node(
    cluster: EdgeCluster, bearer: Callable[..., dict[str, str]]
) -> None:
    queue = cluster.queue_of(1)
    other = cluster.other(queue)
    key = bearer("admin")["Authorization"].partition(" ")[2]
    for node in cluster.nodes.values():
        assert node.access is not None
        node.access._keys.reload()
    begun = other("POST", "/ui/session", json={"key": key})
    assert begun.status == 200
    cookie = begun.headers["set-cookie"].partition(";")[0]
    of_ui = {"X-WonderQ-UI": "1", "Sec-Fetch-Site": "same-origin", "Cookie": cookie}
    assert other("PUT", f"/queues/{queue}", headers=of_ui).status == 201
    assert other("GET", "/overview", headers=of_ui).json["access"]["roles"]


def test_a_new_key_that_the_owner_does_not_have_yet_is_waited_for(
    nats: NatsCluster, tmp_path: Path, key_file: Path, bearer: Callable[..., dict[str, str]]
) -> None:
    early, late = tmp_path / "early.json", tmp_path / "late.json"
    bearer("admin")
    late.write_bytes(key_file.read_bytes())
    new = bearer("admin")
    early.write_bytes(key_file.read_bytes())
    files = iter((early, late))
    settings = EdgeSettings(retry_s=PATIENCE_S)
    with edge_cluster(nats.url, access=lambda: Access(Keys(next(files))), settings=settings) as cluster:
        queue = cluster.queue_of(1)
        edge, owner = cluster.nodes["a"], cluster.nodes["b"]
        replies: list[Reply] = []
        path = f"/queues/{queue}/messages/produce"
        sender = threading.Thread(target=lambda: replies.append(edge("POST", path, json={"message": "x"}, headers=new)))
        sender.start()
        eventually(lambda: edge.assembly.carrier._waiting.get(1), "the request to be tried again")
        assert owner("POST", path, json={"message": "x"}, headers=new).status == 401, "it cannot check the key"
        late.write_bytes(key_file.read_bytes())
        sender.join(PATIENCE_S)
        assert [each.status for each in replies] == [201]


def test_pages_of_other_sites_change_nothing_at_any_node_without_keys(nats: NatsCluster) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    browser = {"User-Agent": "Mozilla/5.0"}
    read_only = {"X-WonderQ-UI": "1", "Sec-Fetch-Site": "same-origin"}
    with edge_cluster(nats.url, settings=EdgeSettings(ui="read-only")) as cluster:
        queue = cluster.queue_of(1)
        owner, other = cluster.owner(queue), cluster.other(queue)
        assert other("POST", f"/queues/{queue}/messages/produce", json={"message": "x"}).status == 201
        for node in (owner, other):
            assert node("GET", f"/?Action=PurgeQueue&QueueUrl={queue}", headers=link | browser).status == 403
            assert node("GET", f"/queues/{queue}/messages/consume", headers=browser).status == 403
            for target in (f"/?Action=PurgeQueue&QueueUrl={queue}", f"/queues/{queue}/messages/consume"):
                assert node("GET", target, headers=read_only).status == 403
            assert node("PUT", f"/topics/{queue}/subscriptions/match", json={}, headers=read_only).status == 403
            assert node("GET", f"/queues/{queue}").json["counts"]["unprocessed"] == 1
        assert len(other("GET", f"/queues/{queue}/messages/consume").json) == 1, "a program may claim by GET"
