"""The page of the cluster: what it shows of nodes that a test plays, and what it does with three real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_processes import SHARDS, ClusterProcesses
from tests.support.http_client import ServedBroker
from tests.support.nats_servers import needs_nats
from tests.support.played_node import COUNT, PlayedNode, Seen
from tests.support.waiting import eventually
from tests.ui.accessibility import AXE, violations
from tests.ui.conftest import OpenBrowser, Watched
from tests.ui.played_cluster import SILENT_S, URLS, fall_silent, playing, serving_node
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import CLUSTER_RULES
from wonderq.cluster.placement import Placement


@pytest.fixture
def play() -> Iterator[PlayedNode]:
    with playing(COUNT) as play:
        yield play


@pytest.fixture
def node(play: PlayedNode) -> Iterator[ServedBroker]:
    with serving_node(play) as node:
        yield node


#: Text of a cell without a value.
NONE = "\u2013"


def count(shards: int) -> str:
    return f"{shards} shard{'' if shards == 1 else 's'}"


def open_cluster(open_browser: OpenBrowser, node: ServedBroker, **choices: Any) -> Watched:
    watched = open_browser(f"http://{node.host}:{node.port}", **choices)
    watched.open("/ui/cluster").get_by_role("heading", name="Shards").wait_for()
    return watched


def rows(page: Any, table: int) -> list[str]:
    """Return the texts of the rows of a table, each on one line."""
    return [" ".join(each.inner_text().split()) for each in page.locator("table").nth(table).locator("tbody tr").all()]


def owned_by(play: PlayedNode, name: str) -> list[int]:
    """Return the shards of a node."""
    return [each.shard for each in play.node.statuses() if each.owner == name]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nodes_and_shards_are_shown(
    open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker, width: int, scheme: str
) -> None:
    watched = open_cluster(open_browser, node, width=width, scheme=scheme)
    page = watched.page
    page.get_by_text("3 nodes, 4 shards. Nothing needs you.").wait_for()
    nodes, shards = rows(page, 0), rows(page, 1)
    [own, *_], [first, *_] = owned_by(play, "a"), owned_by(play, "b")
    if width > 640:
        assert nodes[0] == f"a this one {URLS['a']} 1 {NONE} {len(owned_by(play, 'a'))} now Drain…"
        assert nodes[1].startswith(f"b {URLS['b']} 1 ")
        assert nodes[1].endswith(f" {len(owned_by(play, 'b'))} now Drain…")
        assert shards[first] == f"{first} b available 3 5 3 of 3 46.1 MiB 0 Transfer…"
    assert [each.split()[0] for each in shards] == ["0", "1", "2", "3"]
    assert "a available" in shards[own]
    assert watched.sideways_px() == 0
    if AXE.exists():
        assert violations(page) == []


def test_what_is_wrong_comes_first(open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker) -> None:
    hostile = "<img src=x onerror=window.wasHit=1>\u202e"
    own, of_b, of_c = (owned_by(play, name) for name in "abc")
    play.node._steward.is_draining = True  # it takes nothing
    play.peers.seen = Seen(3, 2)
    owned = play.node.shards[own[0]].owned
    assert owned is not None
    owned.log.waiting_s = 2.5  # type: ignore[misc]
    for _ in range(10):  # the announcement with the shortest delay counts
        play.peers.say("b", *((shard, "damaged", 0) for shard in of_b), ahead_ms=900_000, state="unable")
    play.peers.say(hostile)
    fall_silent(play, "c", 3 * 3600)
    play.node.place(lambda present: present.transfer(own[0], hostile).drain("b"))
    eventually(lambda: all(play.node.owner(shard) is None for shard in of_b + of_c))
    eventually(lambda: {play.node.seen[shard] for shard in own} == {Seen(3, 2)})
    watched = open_cluster(open_browser, node)
    page = watched.page
    assert page.locator("main li.failure").all_inner_texts() == [
        "This node does not reach more than half of the NATS servers, so it can store nothing.",
        f"Shards without a working owner: {len(of_b + of_c)} of 4. Requests of their queues fail.",
        "Nodes that are not heard any more: c.",
        f"Shards that some of their NATS servers do not have whole: {len(own)} of 4.",
    ]
    found = rows(page, 1)
    assert [int(each.split()[0]) for each in found] == sorted(of_b + of_c) + own
    by_shard = {int(each.split()[0]): each for each in found}
    assert "damaged the node b cannot read its log" in by_shard[of_b[0]]
    assert f"{NONE} no owner" in by_shard[of_c[0]]
    late = page.locator(".late").all_inner_texts()
    assert "15 min ahead" in late
    assert [each for each in late if re.fullmatch(r"3 h \d+ min ago", each)]
    assert "2 of 3" in late
    assert "2.5 s" in late
    page.get_by_text("owns nothing: its clock is wrong").wait_for()
    page.locator("tbody th", has_text="<img src=x onerror=window.wasHit=1>⟨202E⟩").first.wait_for()
    assert page.evaluate("window.wasHit") is None
    page.set_viewport_size({"width": 320, "height": 900})
    assert watched.sideways_px() == 0


def test_a_node_without_a_quorum_says_so(open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker) -> None:
    play.peers.connected_s = 0.0
    open_cluster(open_browser, node).page.get_by_text("does not reach more than half of the NATS servers").wait_for()


def test_a_shard_is_transferred(open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker) -> None:
    shard = owned_by(play, "a")[0]
    page = open_cluster(open_browser, node).page
    assert page.get_by_role("button", name="Balance…").is_disabled()
    page.get_by_role("button", name=f"Transfer shard {shard}…").click()
    assert page.get_by_label("To the node").locator("option").all_inner_texts() == ["b", "c"]
    page.get_by_label("To the node").select_option("c")
    page.get_by_role("button", name="Transfer", exact=True).click()
    page.get_by_text(f"Shard {shard} goes to c.").wait_for()
    page.get_by_text("moves to c").wait_for()
    page.get_by_text("transferred", exact=True).wait_for()
    assert play.node.placement == Placement({shard: "c"})
    page.get_by_role("button", name="Balance…").click()
    page.get_by_text("1 transfer and 0 drains are forgotten.").wait_for()
    page.get_by_role("button", name="Balance", exact=True).click()
    page.get_by_text("The shards spread over all nodes.").wait_for()
    assert play.node.placement == Placement()


def test_a_node_is_drained_and_the_drain_undone_with_the_keyboard(
    open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker
) -> None:
    page = open_cluster(open_browser, node).page
    page.get_by_role("button", name="Drain c…").focus()
    page.keyboard.press("Enter")
    page.get_by_text(f"It owns {count(len(owned_by(play, 'c')))}.").wait_for()
    page.get_by_role("button", name="Drain c", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("c gives its shards away.").wait_for()
    assert play.node.placement == Placement(drained=frozenset("c"))
    page.get_by_role("button", name="Undo the drain of c").focus()
    page.keyboard.press("Enter")
    page.get_by_text("c may own shards again.").wait_for()
    assert play.node.placement == Placement()


def test_a_refusal_stays_in_the_dialog(open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker) -> None:
    watched = open_cluster(open_browser, node)
    watched.may_fail = True
    page = watched.page
    page.get_by_role("button", name=f"Transfer shard {owned_by(play, 'a')[0]}…").click()
    page.get_by_label("To the node").select_option("c")
    fall_silent(play, "c", 2 * SILENT_S)
    page.get_by_role("button", name="Transfer", exact=True).click()
    page.get_by_role("alert").filter(has_text="No node 'c' is heard at present").wait_for()
    assert play.node.placement == Placement()


@pytest.mark.parametrize(("role", "queues", "buttons"), [("look", "*", 0), ("admin", "mail", 0), ("admin", "*", 4)])
def test_only_an_admin_of_all_queues_may_move_shards(
    open_browser: OpenBrowser, play: PlayedNode, tmp_path: Path, role: Any, queues: str, buttons: int
) -> None:
    _, key = keys.create(tmp_path / "keys.json", name="k", roles=[role], queues=[queues])
    with serving_node(play, Access(Keys(tmp_path / "keys.json"), rules=CLUSTER_RULES)) as node:
        watched = open_browser(f"http://{node.host}:{node.port}")
        watched.may_fail = True  # the first answers are 401
        page = watched.open("/ui/cluster")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("4 shards. ").wait_for()
        page.get_by_role("button", name="Log out k").wait_for()
        assert page.get_by_role("button", name="Transfer shard").count() == buttons


def test_shards_can_be_moved_while_the_overview_is_refused(
    open_browser: OpenBrowser, play: PlayedNode, node: ServedBroker
) -> None:
    """A shard without an owner has no overview, which tells what the key permits."""
    watched = open_browser(f"http://{node.host}:{node.port}")
    watched.may_fail = True
    refusal = '{"error": {"code": "shard_unavailable", "message": "No node owns shard 3 at present."}}'
    watched.page.route("**/overview", lambda route: route.fulfill(status=503, body=refusal))
    page = watched.open("/ui/cluster")
    page.get_by_text("No node owns shard 3 at present.").wait_for()
    page.get_by_role("button", name="Transfer shard 0…").click()
    page.get_by_role("button", name="Transfer", exact=True).click()
    page.get_by_text("Shard 0 goes to").wait_for()
    assert play.node.placement.pins.keys() == {0}


def test_the_menu_and_the_keys_lead_to_it(open_browser: OpenBrowser, node: ServedBroker) -> None:
    page = open_browser(f"http://{node.host}:{node.port}").open("/ui")
    page.get_by_text("Nothing needs you.").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.get_by_role("heading", name="Cluster").wait_for()
    assert page.get_by_role("navigation").get_by_role("link", name="Cluster").get_attribute("aria-current") == "page"
    assert page.title() == "Cluster · WonderQ"


def test_a_single_broker_has_no_such_page(served: ServedBroker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui")
    page.get_by_text("Nothing needs you.").wait_for()
    assert not page.get_by_role("link", name="Cluster").count()
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    assert not page.get_by_text("broker, cluster").count()
    assert page.url.endswith("/ui")


@needs_nats
def test_three_real_nodes(open_browser: OpenBrowser, tmp_path: Path) -> None:
    with ClusterProcesses(tmp_path, "abc", "--shards", str(SHARDS)) as cluster:
        cluster.await_owners("a", "b", "c")
        watched = open_browser(cluster["a"].url)
        watched.may_fail = True  # while a shard moves, the overview may be refused
        page = watched.open("/ui/cluster")
        page.get_by_text(f"3 nodes, {SHARDS} shards. Nothing needs you.").wait_for()
        shard = cluster["a"].owners().index("a")
        page.get_by_role("button", name=f"Transfer shard {shard}…").click()
        page.get_by_label("To the node").select_option("c")
        page.get_by_role("button", name="Transfer", exact=True).click()
        eventually(lambda: cluster["a"].owners()[shard] == "c", "the shard to move")
        page.get_by_role("button", name="Drain c…").click()
        page.get_by_role("button", name="Drain c", exact=True).click()
        cluster.await_owners("a", "b")
        page.get_by_role("button", name="Balance…").click()
        page.get_by_role("button", name="Balance", exact=True).click()
        cluster.await_owners("a", "b", "c")
        cluster["b"].kill()
        page.get_by_text("Nodes that are not heard any more: b.").wait_for()
        cluster.await_owners("a", "c")
        cluster["b"].start()
        page.get_by_text(f"3 nodes, {SHARDS} shards. Nothing needs you.").wait_for()
