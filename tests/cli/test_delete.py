from __future__ import annotations

from tests.support.commands import Wonderq
from tests.support.queue_client import QueueClient


def test_by_id_and_by_receipt(wonderq: Wonderq, client: QueueClient) -> None:
    ids = client.produce_batch(["a", "b", "c"])
    [claimed] = client.consume(limit=1)
    done = wonderq("delete", claimed["receipt"], ids[1])
    assert (done.code, done.out, done.error) == (0, b"", "")
    assert [message["message"] for message in client.messages()] == ["c"]


def test_lines_of_receive_can_be_piped_in(wonderq: Wonderq, client: QueueClient) -> None:
    for start in (0, 750):
        client.produce_batch([f"message {number}" for number in range(start, start + 750)])
    received = wonderq("receive", "--max", "1500")
    done = wonderq("delete", stdin=received.out)
    assert (done.code, done.error) == (0, "")
    assert list(client.messages()) == []


def test_the_output_of_send_undoes_it(wonderq: Wonderq, client: QueueClient) -> None:
    sent = wonderq("send", "a", "b")
    assert wonderq("delete", stdin=sent.out + b"\n").code == 0
    assert list(client.messages()) == []


def test_what_was_not_deleted_is_named(wonderq: Wonderq, client: QueueClient) -> None:
    ids = client.produce_batch(["a", "b", "c"])
    stale = client.consume(limit=1, visibility_timeout=0)[0]["receipt"]
    client.consume(limit=1)
    client.delete_batch(ids=[ids[1]])
    done = wonderq("delete", stdin="\n".join([stale, *ids[1:], "nonsense"]).encode())
    assert done.code == 1
    assert [message["message"] for message in client.messages()] == ["a"]
    lines = done.error.splitlines()
    assert len(lines) == 3
    assert f"wonderq: not deleted: {stale}: This receipt is no longer valid" in lines[0]
    assert lines[1].startswith("wonderq: not deleted: nonsense: This is not a receipt")
    assert lines[2].startswith(f"wonderq: not deleted: {ids[1]}: There is no message with this id")
