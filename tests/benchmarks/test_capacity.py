"""The computation of capacity: the page has its output, and its inputs are those of the page on speeds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import BATCHES, SINGLES, Choices, Profile
from wonderq.broker.broker import Broker
from wonderq.model.messages import Target
from wonderq_storage import FileLog, SyncPolicy

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_page_has_the_output() -> None:
    text = (DOCS / "SCALING.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"<!-- computed by: .*? -->\n\n(.*?)\n\n<!-- end", text, re.DOTALL)
    assert shown.splitlines() == list(capacity.report(Choices()))


def test_inputs_that_are_measured_are_on_the_pages() -> None:
    scaling = (DOCS / "SCALING.md").read_text(encoding="utf-8")
    texts = {
        "[measured](PERFORMANCE.md)": (DOCS / "PERFORMANCE.md").read_text(encoding="utf-8"),
        "[measured](#a-cluster-on-two-cores)": section(scaling, "### A cluster on two cores"),
        "experiment": scaling.partition("## Split a queue")[0],
    }
    for each in capacity.inputs():
        if (text := texts.get(each.source)) is not None:
            assert re.search(rf"\b{re.escape(f'{each.value:,g}')}\b", text), each


def section(text: str, title: str) -> str:
    """Return the section with this title, up to the next title."""
    return text.partition(f"\n{title}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize("profile", [SINGLES, BATCHES], ids=lambda profile: str(profile.name))
def test_the_size_of_a_message_in_the_log_is_the_one_that_a_broker_writes(tmp_path: Path, profile: Profile) -> None:
    log = FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 25)
    broker = Broker(log)
    before, messages = log.used_bytes(), 0
    for _ in range(200 // profile.batch + 2):
        broker.produce("orders", ["x" * 200] * profile.batch)
        claimed = broker.claim("orders", limit=profile.batch)
        broker.delete_batch("orders", [Target(receipt=each.receipt) for each in claimed])
        messages += profile.batch
    assert (log.used_bytes() - before) / messages - 200 == pytest.approx(profile.record_bytes.value, rel=0.1)
    broker.close()


@pytest.mark.parametrize("profile", [SINGLES, BATCHES], ids=lambda profile: str(profile.name))
def test_a_plan_carries_its_rate_and_one_node_fewer_does_not(profile: Profile) -> None:
    choices = Choices()
    need = capacity.plan(50_000, profile, choices)
    assert need.clusters == 1
    assert capacity.fits(50_000, profile, need.shards, need.nodes, choices)
    assert need.nodes == 3 or not capacity.fits(50_000, profile, need.shards, need.nodes - 1, choices)
    assert capacity.most(profile, need.shards, need.nodes, choices) >= 49_900


def test_less_headroom_or_fewer_queues_take_more_nodes() -> None:
    least = capacity.plan(20_000, SINGLES, Choices())
    assert capacity.plan(20_000, SINGLES, replace(Choices(), headroom=0.5)).nodes > least.nodes
    assert capacity.plan(20_000, SINGLES, replace(Choices(), queues=20)).nodes > least.nodes, "parts are less even"


def test_clients_that_ask_the_owners_take_fewer_nodes_and_send_less_between_them() -> None:
    anybody = capacity.plan(20_000, SINGLES, Choices())
    owners = capacity.plan(20_000, SINGLES, replace(Choices(), owners_asked=True))
    assert owners.nodes < anybody.nodes
    assert owners.network_bytes_s * owners.machines < anybody.network_bytes_s * anybody.machines


def test_the_busiest_parts_are_no_smaller_than_equal_ones() -> None:
    alone = capacity.placed(64, 16, 1)
    assert alone.busiest_node == 1
    spread = capacity.placed(64, 16, 3)
    assert 1 / 3 <= spread.busiest_node < 1
    assert spread.busiest_shard == alone.busiest_shard >= 1 / 16
