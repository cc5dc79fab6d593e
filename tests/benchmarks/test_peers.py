"""The comparison with other queues: WonderQ's own row, and peers that do not do what they are timed for."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.peers import client
from benchmarks.peers.plot import make_svg
from benchmarks.peers.registry import PEERS, load
from benchmarks.peers.rounds import Row, measure
from benchmarks.peers.table import make_table
from tests.benchmarks.lying_peers import Honest

LYING = "tests.benchmarks.lying_peers:"


def run(*specs: str, timeout_s: float = 60) -> list[Row]:
    return measure({spec: spec for spec in specs}, messages=300, rounds=1, body_bytes=100, timeout_s=timeout_s)


def test_wonderq_has_a_row_in_table_and_plot() -> None:
    rows = run(PEERS["wonderq"], LYING + "Honest", LYING + "Absent")
    assert [(row.failed, row.skipped) for row in rows[:2]] == [(None, None)] * 2
    lines = make_table(rows).splitlines()
    assert lines[2].startswith("wonderq ")
    assert lines[2].endswith("fsync before every answer")
    assert lines[3].startswith("honest")
    assert lines[3].count("x") == 2  # WonderQ's ratio to it, in both phases
    assert lines[4].endswith("no server: apt-get install it")
    assert len(ET.fromstring(make_svg(rows, "a < b")).findall("{*}rect")) == 2 + 2 * 2


def test_wonderqs_own_client_has_a_row() -> None:
    (row,) = run(PEERS["wonderq-json"])
    assert row.measured, row
    assert row.produce_rate > 0
    assert row.consume_rate > 0


@pytest.mark.parametrize(
    ("liar", "said"),
    [
        ("Loses", "the queue holds"),
        ("LosesLater", "only 699 of 700 messages came"),
        ("Doubles", "came twice"),
        ("Alters", "did not come as they were produced"),
        ("KeepsDeleted", "the queue holds 700 messages, and should hold 0"),
    ],
)
def test_a_lie_is_reported(liar: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "IDLE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(client, "SETTLE_S", 0.2)
    with pytest.raises(client.WrongCountError, match=said):
        client.run(load(LYING + liar), "", 300, 100)


def test_an_honest_peer_passes() -> None:
    assert set(client.run(Honest(), "", 300, 100)) == {"produce_s", "consume_s"}


@pytest.mark.slow
def test_a_liar_and_a_hanging_peer_fail_their_rows_only() -> None:
    liar, hanging = run(LYING + "Doubles", timeout_s=30)[0], run(LYING + "Hangs", timeout_s=2)[0]
    assert "came twice" in (liar.failed or "")
    assert "took longer than 2 s" in (hanging.failed or "")
    assert make_table([liar, hanging]).count("FAILED") == 2


def test_a_missing_package_is_named() -> None:
    (row,) = run("benchmarks.peers.not_there:Peer")
    assert row.skipped is not None
    assert "pip install --group peers" in row.skipped
