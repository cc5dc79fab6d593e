"""The page of the broker where several processes share a log in NATS: that of the owner, and that of one that stands by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.scripted_peers import ScriptedPeers, Seen
from tests.ui.accessibility import AXE, violations
from tests.ui.conftest import OpenBrowser
from wonderq import __version__
from wonderq.app import create_app, create_stand_by_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.ownership.metrics import NodeCollector
from wonderq.ownership.node import Node
from wonderq.rest.health import SharedLogState
from wonderq.rest.overview import Vitals

STATE = SharedLogState("10.0.0.1:7979", 7, 1_700_000_000_000, 0.91, 1, [("10.0.0.2:7979", "standing_by")], 3, 3, 3)


@contextmanager
def owner(state: SharedLogState) -> Iterator[ServedBroker]:
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker, vitals=lambda: Vitals(__version__, shared_log=state))) as served:
        yield served
    broker.close()


def facts(page: Any) -> dict[str, str]:
    """Return the names and values that the lists of the page show."""
    rows = page.locator("dl.facts-list > div").all()
    return {each.locator("dt").inner_text(): " ".join(each.locator("dd").inner_text().split()) for each in rows}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_owner_shows_who_could_take_over(open_browser: OpenBrowser, width: int, scheme: str) -> None:
    with owner(STATE) as served:
        watched = open_browser(f"http://{served.host}:{served.port}", width=width, scheme=scheme)
        page = watched.open("/ui/broker")
        page.get_by_role("heading", name="Shared log").wait_for()
        found = facts(page)
        assert found["This process"] == "10.0.0.1:7979 owns the log"
        assert "10.0.0.2:7979 stands by" in found["Others"]
        assert "within 910 ms" in found["Last hand-over"]
        assert found["Epoch"].startswith("7 ")
        assert found["Lost to others"].startswith("1 ")
        assert found["Clock"].startswith("3 ms ahead of the others")
        assert found["NATS servers"] == "3 of 3 have all of the log"
        assert not page.locator(".late").count()
        assert watched.sideways_px() == 0
        if AXE.exists():
            assert violations(page) == []


def test_what_is_wrong_with_a_shared_log_stands_out(open_browser: OpenBrowser) -> None:
    hostile = "<img src=x onerror=window.wasHit=1>\u202e"
    state = STATE._replace(others=[(hostile, "unable")], clock_ahead_ms=-900, replicas_current=2)
    with owner(state) as served:
        page = open_browser(f"http://{served.host}:{served.port}").open("/ui/broker")
        page.get_by_role("heading", name="Shared log").wait_for()
        wrong = page.locator(".late").all_inner_texts()
        assert wrong == [
            "nobody stands by, so nobody can take over",
            "900 ms behind the others, so it could take nothing over",
            "2 of 3 have all of the log",
        ]
        page.get_by_text("<img src=x onerror=window.wasHit=1>⟨202E⟩").wait_for()
        assert page.evaluate("window.wasHit") is None


def test_a_broker_with_its_log_in_a_folder_shows_nothing_of_it(served: ServedBroker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/broker")
    page.get_by_role("heading", name="Limits").wait_for()
    assert not page.get_by_role("heading", name="Shared log").count()


class StandBy:
    """A process that hears of another one that owns the log."""

    def __init__(self, key_file: Path) -> None:
        self.peers = ScriptedPeers()
        self.node = Node("10.0.0.2:7979", self.peers, lambda _: cast("Any", nullcontext()))
        self.node.seen = Seen(clock_ahead_ms=12)
        self.node.member._now_s = lambda: 0.0  # what it has heard is never old
        self.peers.callback = self.node.member.hear
        self.peers.say("owner", 7)
        registry = CollectorRegistry()
        registry.register(NodeCollector(self.node))
        self.access = Access(Keys(key_file))
        self.front = self.node.front
        self.front.set_up(create_stand_by_app(self.access, registry, self.node.standing), self.access.check_head)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_process_that_stands_by_shows_the_owner_and_goes_on_as_the_owner(
    open_browser: OpenBrowser, tmp_path: Path, width: int
) -> None:
    process, broker = StandBy(tmp_path / "keys.json"), Broker(MemoryLog())
    with serving(broker, process.front) as served:
        watched = open_browser(f"http://{served.host}:{served.port}", width=width)
        watched.may_fail = True
        page = watched.open("/ui/broker")
        page.get_by_text("other:1 owns the log: send requests there.").first.wait_for()
        page.get_by_text("3 of 3 have all of the log").wait_for()
        found = facts(page)
        assert found["Owner"] == "other:1"
        assert found["Epoch"].startswith("7 ")
        assert "the others" in found["Clock"]
        assert watched.sideways_px() == 0
        if AXE.exists():
            assert violations(page) == []
        process.front.serve(create_app(broker, vitals=lambda: Vitals(__version__, shared_log=STATE)))
        page.get_by_text("10.0.0.1:7979 owns the log").wait_for()
        assert not page.get_by_text("other:1").count()
    broker.close()


def test_a_process_that_stands_by_has_no_session_and_asks_for_none(open_browser: OpenBrowser, tmp_path: Path) -> None:
    keys.create(tmp_path / "keys.json", name="another", roles=["admin"], queues=["*"])
    process, broker = StandBy(tmp_path / "keys.json"), Broker(MemoryLog())
    with serving(broker, process.front) as served:
        watched = open_browser(f"http://{served.host}:{served.port}")
        watched.may_fail = True
        page = watched.open("/ui/broker")
        page.get_by_text("which needs a key").wait_for()
        assert facts(page)["Owner"] == "other:1"
        assert not page.get_by_label("API key").count()
    broker.close()
