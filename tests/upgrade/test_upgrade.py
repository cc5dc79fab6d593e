"""A folder of an earlier version opens with everything in it, and an earlier version refuses a folder that is too new for it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.environments import clean_environment, run, serve_command, serving
from tests.support.folders import segment_files, snapshot
from tests.support.waiting import PATIENCE_S
from tests.upgrade.earlier import VERSIONS, commit_of, install
from wonderq.folder.import_ import Importer, into_folder
from wonderq.folder.restore import restore
from wonderq_storage import frame

HOUR_S = 3600


@pytest.fixture(scope="module", params=VERSIONS)
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with an earlier version."""
    commit = commit_of(request.param)
    if commit is None:
        pytest.skip(f"the history of this clone does not have: {request.param}")
    return install(commit, tmp_path_factory.mktemp("earlier"))


def call(url: str, body: Any = None) -> Any:
    """Make a call that every version has."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def messages_at(url: str) -> list[tuple[Any, ...]]:
    """Return id, text, status, number of receives and end of the claim of each message."""
    names = ("id", "message", "status", "receive_count", "claimed_until")
    return [tuple(each[name] for name in names) for each in call(f"{url}/dev/messages")]


def formats_in(data: Path) -> set[int]:
    return {path.read_bytes()[8] for path in segment_files(data)}


def write_some(url: str) -> list[tuple[Any, ...]]:
    """Leave a message that was claimed and dropped, one under a claim, and one that nobody has claimed; one is deleted."""
    for text in ("dropped", "claimed", "deleted"):
        call(f"{url}/messages/produce", {"message": text})
    first, second, third = call(f"{url}/messages/consume?visibility_timeout={HOUR_S}")
    for each, change in ((first, "visibility_timeout=0"), (third, "")):
        address = f"{url}/messages/{each['id']}?receipt={each['receipt']}&{change}"
        method = "UPDATE" if change else "DELETE"
        with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=PATIENCE_S) as answer:
            assert answer.status == 200
    call(f"{url}/messages/produce", {"message": "waiting"})
    found = messages_at(url)
    assert {(text, status, receives) for _, text, status, receives, _ in found} == {
        ("dropped", "unprocessed", 1),
        ("claimed", "processing", 1),
        ("waiting", "unprocessed", 0),
    }
    assert second["id"] in {id_ for id_, *_ in found}
    return found


def test_a_folder_opens_with_each_message_and_claim_and_the_earlier_version_returns_or_refuses(
    earlier: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with serving(earlier, data) as (url, process):
        written = write_some(url)
        process.kill()
    [old_format] = formats_in(data)

    with RunningBroker(data) as broker:
        assert messages_at(broker.url) == written
        call(f"{broker.url}/messages/produce", {"message": "of this version"})
        now_there = messages_at(broker.url)
        assert broker.terminate() == 0
    with RunningBroker(data) as broker:  # from its own checkpoint
        assert messages_at(broker.url) == now_there
        assert broker.terminate() == 0
    assert max(formats_in(data)) == frame.VERSION

    if old_format == frame.VERSION:
        with serving(earlier, data) as (url, _):
            assert messages_at(url) == now_there
        return
    before = snapshot(data)
    done = subprocess.run(
        serve_command(earlier, data),
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    [sentence] = [line for line in done.stderr.splitlines() if f"has format version {frame.VERSION}" in line]
    assert "Nothing was changed." in sentence
    assert snapshot(data) == before


def test_a_backup_and_an_export_of_an_earlier_version_are_read(earlier: Path, tmp_path: Path) -> None:
    data, backup, exported = tmp_path / "data", tmp_path / "backup", tmp_path / "exported"
    program = earlier.with_name("wonderq")
    with serving(earlier, data) as (url, process):
        written = write_some(url)
        run(program, "backup", data, backup)
        process.kill()
    lines = run(program, "export", data).encode().splitlines(keepends=True)

    restore(backup, tmp_path / "restored")
    with RunningBroker(tmp_path / "restored") as broker:
        assert messages_at(broker.url) == written
    with into_folder(exported) as target:
        Importer(target).run(lines)
    with RunningBroker(exported) as broker:
        texts = sorted(each["message"] for each in call(f"{broker.url}/dev/messages"))
    assert texts == sorted(text for _, text, *_ in written)


def test_an_earlier_version_of_each_format_is_in_the_history() -> None:
    """Otherwise the test above would skip them all. A clone without its history is allowed to."""
    if commit_of(VERSIONS[-1]) is None:
        pytest.skip("this is no clone, or one without its history")
    assert [name for name in VERSIONS[1:] if commit_of(name) is None] == []
