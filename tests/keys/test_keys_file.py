"""The file of keys: how it is written, and what a broker makes of it while it changes."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys
from wonderq.auth.keys import EVERYBODY, Key, Keys, KeysError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def create(path: Path, name: str = "test", **more: Any) -> str:
    return keys.create(path, **{"name": name, "roles": ["inspect"], "queues": ["*"], **more})[1]


def names(path: Path) -> list[str]:
    return [key.name for key in keys.read(path)[0]]


def key_id(text: str) -> str:
    return text.split("_")[1]


# Writing


def test_a_key_is_in_the_file_as_a_hash_alone(path: Path) -> None:
    expires = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    text = create(path, "worker", roles=["consume", "produce", "consume"], queues=["a", "b-*", "a"], expires_at=expires)
    content = path.read_text()
    assert text.split("_")[2] not in content
    [entry] = json.loads(content)["keys"]
    assert len(entry.pop("sha256")) == 64
    created = datetime.fromisoformat(entry.pop("created_at"))
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=5)
    assert entry == {
        "id": key_id(text), "name": "worker", "roles": ["produce", "consume"], "queues": ["a", "b-*"],
        "expires_at": "2099-01-02T03:04:05Z",
    }  # fmt: skip


def test_keys_are_long_random_and_of_one_form(path: Path) -> None:
    texts = [create(path) for _ in range(20)]
    assert len({text.split("_")[2] for text in texts}) == len({key_id(text) for text in texts}) == 20
    assert all(len(bytes.fromhex(text.split("_")[2])) == 32 and len(text) == 80 for text in texts)


def test_only_the_owner_may_read_the_file_also_if_it_was_otherwise(path: Path) -> None:
    for mask in (0, 0o077):
        previous = os.umask(mask)
        try:
            create(path)
        finally:
            os.umask(previous)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)
        path.with_name("keys.json.tmp").touch(0o666)  # as something else left it


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_whoever_has_the_folder_or_had_the_file(path: Path) -> None:
    os.chown(path.parent, 12345, 12346)
    create(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
    os.chown(path, 12347, 12348)
    create(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12347, 12348)


def test_revoking_takes_all_that_are_named_or_none(path: Path) -> None:
    texts = [create(path, f"key {number}") for number in range(4)]
    before = path.read_bytes()
    with pytest.raises(KeysError, match=r"has no key with the id 0123456789ab\. Nothing was changed"):
        keys.revoke(path, [key_id(texts[0]), "0123456789ab"])
    assert path.read_bytes() == before
    assert keys.revoke(path, [key_id(texts[0]), texts[2]]) == 2
    assert names(path) == ["key 1", "key 3"]
    assert os.listdir(path.parent) == ["keys.json"]


def test_an_unknown_key_is_not_repeated(path: Path) -> None:
    create(path)
    with pytest.raises(KeysError) as refused:
        keys.revoke(path, ["wq_0123456789ab_" + "5ec2e7" * 10])
    assert "5ec2e7" not in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": "x" * 81},
        {"name": "a\nb"},
        {"name": "a\x1b[31m"},
        {"name": "\udcff"},
        {"roles": []},
        {"queues": []},
        {"queues": ["a/b"]},
        {"queues": [""]},
        {"queues": ["x" * 101]},
    ],
    ids=str,
)
def test_what_would_not_be_read_again_is_not_written(path: Path, values: dict[str, Any]) -> None:
    create(path)
    before = path.read_bytes()
    with pytest.raises(KeysError, match="cannot be written"):
        create(path, **values)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["keys.json"]


def test_a_file_does_not_grow_beyond_what_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LONGEST_FILE_BYTES", 1000)
    create(path, "first")
    with pytest.raises(KeysError, match="more than 1000 bytes"):
        create(path, queues=["x" * 50 + str(number) for number in range(20)])
    assert names(path) == ["first"]


def test_a_damaged_file_is_not_written_over(path: Path) -> None:
    path.write_bytes(b"{")
    with pytest.raises(KeysError, match="cannot be read"):
        create(path)
    assert path.read_bytes() == b"{"


def test_a_folder_that_is_not_there_is_made_for_a_key_and_not_to_revoke_one(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "keys.json"
    with pytest.raises(KeysError, match="No such file or directory"):
        keys.revoke(path, ["0123456789ab"])
    assert not (tmp_path / "a").exists()
    create(path)
    assert names(path) == ["test"]


DIE_AT = """
import os, sys
from pathlib import Path
from wonderq.auth import keys

def dying(*arguments, **more):
    if "{when}" == "half":
        real(arguments[0], arguments[1][:10])
    os._exit(99)

real = os.{call}
os.{call} = dying
keys.create(Path(sys.argv[1]), name="new", roles=["inspect"], queues=["*"])
"""


@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("ftruncate", "before"),
        ("write", "before"),
        ("write", "half"),
        ("fsync", "before"),
        ("rename", "before"),
        ("close", "before"),
    ],
)
def test_a_crash_leaves_the_old_keys_or_the_new_ones_and_no_lock(path: Path, call: str, when: str) -> None:
    create(path, "old")
    done = subprocess.run(
        [sys.executable, "-c", DIE_AT.replace("{call}", call).replace("{when}", when), path],
        env=clean_environment(), timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 99
    assert names(path) == (["old", "new"] if call == "close" else ["old"])  # close comes after rename
    create(path, "next")
    assert names(path)[-1] == "next"
    assert os.listdir(path.parent) == ["keys.json"]


def test_the_file_is_on_the_medium_before_it_has_its_name_and_the_name_before_the_key_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            steps.append("fsync folder" if is_folder else name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for each in ("write", "fsync", "rename"):
        watch(each)
    create(path)
    assert steps == ["write", "fsync", "rename", "fsync folder"]


@pytest.mark.parametrize("call", ["ftruncate", "fchmod", "write", "fsync"])
def test_a_refused_call_changes_nothing_and_is_said(path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create(path, "old")

    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(KeysError, match="cannot be written: No space left on device"):
            create(path, "new")
    assert names(path) == ["old"]
    assert os.listdir(path.parent) == ["keys.json"]


def test_of_many_that_write_at_once_none_is_lost(path: Path) -> None:
    """Threads have the same lock as processes: each opens the file for itself."""
    first = create(path, "first")

    def work(number: int) -> None:
        for each in range(10):
            text = create(path, f"{number}-{each}")
            if each % 2:
                keys.revoke(path, [key_id(text)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(names(path)) == sorted(["first", *(f"{n}-{each}" for n in range(4) for each in range(0, 10, 2))])
    assert os.listdir(path.parent) == ["keys.json"]
    assert Keys(path).find(f"Bearer {first}") is not None


def test_a_writer_waits_for_another(path: Path) -> None:
    written = threading.Event()

    def work() -> None:
        create(path, "second")
        written.set()

    thread = threading.Thread(target=work)
    with keys._changing(path) as entries:
        thread.start()
        assert not written.wait(0.3)
        entries.append(Key(
            id="0" * 12, name="first", sha256="0" * 64, roles=["inspect"], queues=["*"], created_at=datetime.now(UTC)
        ))  # fmt: skip
    thread.join(PATIENCE_S)
    assert names(path) == ["first", "second"]


# Reading

GOOD = {
    "id": "0123456789ab", "name": "x", "sha256": "0" * 64, "roles": ["inspect"], "queues": ["*"],
    "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


def test_a_file_in_the_documented_form_is_read(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "keys": [GOOD]}))
    assert names(path) == ["x"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": [], "more": 1}',
        '{"version": 1, "keys": [1]}',
        "[" * 100_000,
        json.dumps({"version": 1, "keys": [GOOD, GOOD]}),
        *(
            json.dumps({"version": 1, "keys": [GOOD | change]})
            for change in list[dict[str, object]]((
                {"id": "0123456789AB"}, {"id": "0123456789ab\n"}, {"sha256": "0"}, {"sha256": None}, {"roles": ["root"]},
                {"roles": []}, {"queues": []}, {"queues": "*"}, {"created_at": "2026-01-01T00:00:00"},
                {"expires_at": "never"}, {"expires_at": "2026-01-01T00:00:00"}, {"more": 1},
                {"requests_per_second": 0}, {"requests_per_second": 1_000_001}, {"requests_per_second": "5"},
            ))
        ),
        *(
            json.dumps({"version": 1, "keys": [{name: value for name, value in GOOD.items() if name != missing}]})
            for missing in GOOD
        ),
    ],
)  # fmt: skip
def test_what_is_not_keys_stops_the_start_and_leaves_a_running_broker_with_what_it_had(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = create(path)
    running = Keys(path, check_interval_s=0)
    path.write_text(content)
    with pytest.raises(KeysError) as refused:
        Keys(path)
    assert str(refused.value).startswith(f"{path}: the keys cannot be read: ")
    assert len(str(refused.value)) < 500
    for _ in range(3):
        assert running.find(f"Bearer {text}") is not None
        assert running.find("Bearer x") is None
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"{refused.value}. The keys read before stay in use"
    other = create(path.with_name("new.json"))
    path.with_name("new.json").rename(path)
    assert running.find(f"Bearer {text}") is None
    assert running.find(f"Bearer {other}") is not None


def test_what_is_no_file_is_refused_and_not_waited_for(path: Path) -> None:
    path.mkdir()
    with pytest.raises(KeysError, match="Is a directory"):
        Keys(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(KeysError, match="not a regular file"):
        Keys(path)


def test_a_file_that_is_too_long_is_not_read(path: Path) -> None:
    path.write_bytes(b" " * (1 << 20) + b" ")
    with pytest.raises(KeysError, match="more than 1048576 bytes"):
        Keys(path)


def test_a_file_that_may_not_be_read_leaves_the_old_keys_until_it_may(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = create(path)
    running = Keys(path, check_interval_s=0)
    new = create(path)
    real = os.open
    with monkeypatch.context() as patched:  # what chmod does to everybody but root

        def refuse(name: Any, *more: Any, **other: Any) -> int:
            if os.fspath(name) == str(path):
                raise PermissionError(13, "Permission denied")
            return real(name, *more, **other)

        patched.setattr(os, "open", refuse)
        for _ in range(3):
            assert running.find(f"Bearer {old}") is not None
            assert running.find(f"Bearer {new}") is None
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"{path}: the keys cannot be read: Permission denied. The keys read before stay in use"
    ]
    assert running.find(f"Bearer {new}") is not None


# Following


def test_keys_read_before_a_hangup_do_not_replace_those_read_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = create(path)
    running = Keys(path, check_interval_s=0)
    former = keys.read(path)

    class Interrupted(list[Key]):
        def __iter__(self) -> Iterator[Key]:
            monkeypatch.undo()
            keys.revoke(path, [key_id(text)])
            running.reload()
            return super().__iter__()

    monkeypatch.setattr(keys, "read", lambda _path: (Interrupted(former[0]), former[1]))
    running.reload()
    assert running.find(f"Bearer {text}") is None


def test_a_running_broker_learns_of_new_and_revoked_keys(path: Path) -> None:
    first = create(path)
    running = Keys(path, check_interval_s=0)
    assert running.find(f"Bearer {first}") is not None
    second = create(path)
    assert running.find(f"Bearer {second}") is not None
    keys.revoke(path, [first])
    assert running.find(f"Bearer {first}") is None
    assert running.find(f"Bearer {second}") is not None


def test_without_keys_everybody_gets_in_until_there_is_one_and_then_nobody_without_even_if_none_is_left(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = Keys(path, check_interval_s=0)
    for given in (None, "Bearer x"):
        assert running.find(given) is EVERYBODY
    text = create(path)
    assert running.find(None) is None
    assert running.find(f"Bearer {text}") is not None
    keys.revoke(path, [text])
    for given in (None, f"Bearer {text}"):
        assert running.find(given) is None
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "no keys are left, so every request is refused"
    ]
    path.unlink()
    for given in (None, f"Bearer {text}"):
        assert running.find(given) is None
    assert Keys(path).find(None) is EVERYBODY, "only a start without keys is open"


def test_an_empty_list_is_no_keys(path: Path) -> None:
    keys.revoke(path, [create(path)])
    assert Keys(path).find(None) is EVERYBODY


def test_a_file_that_goes_away_takes_its_keys_with_it(path: Path) -> None:
    text = create(path)
    running = Keys(path, check_interval_s=0)
    path.unlink()
    assert running.find(f"Bearer {text}") is None
    assert running.find(None) is None


def test_keys_that_have_all_expired_do_not_open_the_broker(path: Path) -> None:
    create(path, expires_at=datetime.now(UTC) - timedelta(days=1))
    assert Keys(path).find(None) is None


def test_a_key_counts_until_it_expires(path: Path) -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    text = create(path, expires_at=expires)
    now_s = expires.timestamp() - 0.001
    running = Keys(path, now_s=lambda: now_s)
    assert running.find(f"Bearer {text}") is not None
    now_s += 0.001
    assert running.find(f"Bearer {text}") is None


def test_the_file_is_looked_at_once_a_second_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = create(path)
    running = Keys(path)
    running.find(None)
    looked = 0
    real = keys._stamp

    def stamp(of: Path) -> tuple[int, ...] | None:
        nonlocal looked
        looked += 1
        return real(of)

    monkeypatch.setattr(keys, "_stamp", stamp)
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    for _ in range(5):
        for _ in range(100):
            assert running.find(f"Bearer {text}") is not None
        now_s += 1.001
    assert looked == 4


# Modes


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o777])
def test_a_file_that_every_user_can_change_is_refused(path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    text = create(path)
    running = Keys(path, check_interval_s=0)
    path.chmod(mode)
    with pytest.raises(KeysError, match=f"every user of this machine can change the keys \\(mode {mode:04o}\\)"):
        Keys(path)
    create(path.with_name("other.json"), "intruder")
    assert running.find(f"Bearer {text}") is not None, "the keys from before"
    assert "The keys read before stay in use" in caplog.records[-1].getMessage()
    create(path, "second")  # makes the file private again
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Keys(path)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_file_that_other_users_can_read_or_a_group_can_change_gets_a_warning(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    create(path)
    path.chmod(mode)
    assert Keys(path).count == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"mode {mode:04o}" in record.getMessage()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_private_file_gets_none(path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    create(path)
    path.chmod(mode)
    Keys(path)
    assert caplog.records == []
