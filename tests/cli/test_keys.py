"""`wonderq key`, and a real broker that asks for one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import COMMAND, clean_environment, read_lines, run
from tests.support.http_client import Wire
from tests.support.needs import needs_path
from tests.support.queue_client import QueueClient
from tests.support.waiting import eventually
from wonderq.cli.main import main
from wonderq.client.endpoint import InvalidKeyError
from wonderq.client.errors import Refused


def make(data: Path, *arguments: str) -> str:
    data.mkdir(exist_ok=True)
    done = run("key", "create", "test", "--data", str(data), *arguments)
    assert done.code == 0, done.error
    [key] = done.lines
    return key


def key_id(key: str) -> str:
    return key.split("_")[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broker") / "data"


@pytest.fixture(scope="module")
def admin(data: Path) -> str:
    return make(data, "--role", "admin")


@pytest.fixture(scope="module")
def keyed(data: Path, admin: str) -> Iterator[RunningBroker]:
    with RunningBroker(data, "--log-level", "debug") as broker:
        yield broker


# The commands


@pytest.mark.parametrize("pattern", ["bad name", "", "a/b", "ü*", "x" * 101, "a\nb"])
def test_a_pattern_that_no_key_can_have_is_an_error_of_usage(tmp_path: Path, pattern: str) -> None:
    done = run("key", "create", "x", "--role", "admin", "--queue", pattern, "--data", str(tmp_path))
    assert (done.code, done.lines) == (2, [])
    assert "argument --queue: expected 1 to 100 of the characters" in done.error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "a\tb", "x" * 81])
def test_a_name_that_no_key_can_have_is_an_error_of_usage(tmp_path: Path, name: str) -> None:
    done = run("key", "create", name, "--role", "admin", "--data", str(tmp_path))
    assert (done.code, done.lines) == (2, [])
    assert "argument NAME: expected 1 to 80 characters, without control characters" in done.error
    assert not list(tmp_path.iterdir())


def test_create_prints_the_key_alone_and_says_where_it_is(tmp_path: Path) -> None:
    done = run("key", "create", "laptop", "--role", "admin", "--data", str(tmp_path))
    assert done.code == 0
    [key] = done.lines
    assert done.error == f"wonderq: key {key_id(key)} is in {tmp_path}/keys.json. It is not shown again.\n"


def test_list_shows_what_each_opens_and_not_the_keys(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    first = make(tmp_path, "--role", "consume", "--role", "produce", "--queue", "orders-*", "--queue", "mail",
                 "--expires", "2999-01-01T00:00:00+02:00")  # fmt: skip
    second = make(tmp_path, "--role", "inspect", "--rate", "50")
    done = run("key", "list", *data)
    assert done.code == 0
    heading, *rows = done.lines
    assert heading.split() == ["ID", "NAME", "ROLES", "QUEUES", "RATE", "CREATED", "EXPIRES"]
    assert rows[0].split()[:4] == [key_id(first), "test", "produce,consume", "orders-*,mail"]
    assert rows[0].split()[6] == "2998-12-31T22:00:00Z"
    assert rows[1].split()[6] == "never"
    assert [row.split()[4] for row in rows] == ["-", "50/s"]
    as_json = run("key", "list", "--json", *data)
    shown = [json.loads(line) for line in as_json.lines]
    assert [each["id"] for each in shown] == [key_id(first), key_id(second)]
    assert shown[0].keys() == {"id", "name", "roles", "queues", "created_at", "expires_at", "requests_per_second"}
    assert [each["requests_per_second"] for each in shown] == [None, 50]
    for key in (first, second):
        for text in (done.out.decode(), as_json.out.decode(), (tmp_path / "keys.json").read_text()):
            assert key.split("_")[2] not in text


def test_revoke_says_when_none_is_left(tmp_path: Path) -> None:
    first, second = make(tmp_path, "--role", "admin"), make(tmp_path, "--role", "admin")
    done = run("key", "revoke", key_id(first), "--yes", "--data", str(tmp_path))
    assert (done.code, done.out, done.error) == (0, b"", "")
    again = run("key", "revoke", key_id(first), "--yes", "--data", str(tmp_path))
    assert again.code == 1
    assert f"has no key with the id {key_id(first)}" in again.error
    last = run("key", "revoke", second, "--yes", "--data", str(tmp_path))
    assert last.code == 0
    assert "no key is left" in last.error
    assert second.split("_")[2] not in last.error


def test_the_file_is_the_one_that_a_broker_with_these_settings_reads(tmp_path: Path) -> None:
    create = ("key", "create", "test", "--role", "admin")
    file = tmp_path / "wonderq.toml"
    file.write_text(f'keys = "{tmp_path}/from-file.json"')
    assert run(*create, "--config", str(file)).code == 0
    assert run(*create, environment={"WONDERQ_KEYS": f"{tmp_path}/from-variable.json"}).code == 0
    (tmp_path / "data").mkdir()
    assert run(*create, environment={"WONDERQ_DATA": f"{tmp_path}/data"}).code == 0
    assert run(*create, "--data", str(tmp_path / "data"), "--keys", str(tmp_path / "from-flag.json")).code == 0
    found = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*.json")}
    assert found == {"from-file.json", "from-variable.json", "data/keys.json", "from-flag.json"}


@pytest.mark.parametrize(
    "command", [("create", "x", "--role", "admin"), ("list",), ("revoke", "0123456789ab", "--yes")]
)
def test_a_misspelt_folder_or_file_is_refused_and_not_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A key in a folder that no broker uses guards nothing."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for folder, expected in (("typo", "there is no folder"), ("a/typo", "no folder"), ("home", "holds no log")):
        done = run("key", *command, "--data", str(tmp_path / folder))
        assert (done.code, done.out) == (1, b"")
        assert expected in done.error
        assert str(tmp_path / folder) in done.error
    done = run("key", *command, "--keys", str(tmp_path / "typo" / "keys.json"))
    assert done.code == 1
    assert "does not exist. Pass the --keys of 'wonderq serve'" in done.error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_read_is_named_and_not_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", refused)
    monkeypatch.setattr("os.scandir", refused)
    for command in (["key", "list"], ["serve", "--listen", "127.0.0.1:0"]):
        assert main([*command, "--data", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert f"{tmp_path}: Permission denied" in error
        assert "keys.json" not in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["create", "x"], "--role"),
        (["create", "x", "--role", "root"], "invalid choice: 'root'"),
        (["create", "x", "--role", "admin", "--expires", "soon"], "'soon' is not a time in ISO 8601"),
        (["create", "x", "--role", "admin", "--expires", "2001-01-01"], "2001-01-01 is in the past"),
        (["create", "x", "--role", "admin", "--rate", "0"], "expected a whole number from 1 to 1000000"),
        (["create", "x", "--role", "admin", "--rate", "1000001"], "expected a whole number from 1 to 1000000"),
        (["create", "x", "--role", "admin", "--rate", "fast"], "expected a whole number from 1 to 1000000"),
        (["revoke"], "ID"),
        ([], "a verb is missing: create, list, revoke"),
    ],
)
def test_wrong_usage(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["key", *arguments])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


def test_what_cannot_be_done_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path)]
    (tmp_path / "keys.json").write_text("damaged")
    for command in (["create", "x", "--role", "admin"], ["list"], ["revoke", "0123456789ab", "--yes"]):
        assert main(["key", *command, *data]) == 1
        assert f"{tmp_path}/keys.json: the keys cannot be read: " in capsys.readouterr().err


# A broker that asks for a key


@pytest.mark.slow
def test_each_command_sends_the_key(keyed: RunningBroker, admin: str, tmp_path: Path) -> None:
    at = ("--url", keyed.url)
    for more, environment in (
        (("--key", admin), {}),
        ((), {"WONDERQ_KEY": admin}),
        (("--key", admin), {"WONDERQ_KEY": "another"}),
    ):
        [message_id] = run("send", *at, *more, "x", environment=environment).lines
        assert run("delete", *at, *more, message_id, environment=environment).code == 0
        run("send", *at, *more, "y", environment=environment)
        assert run("receive", *at, *more, "--delete", environment=environment).lines == ["y"]
        assert run("queue", "list", *at, *more, environment=environment).code == 0
        line = b'{"type":"message","queue":"default","message":"z"}\n'
        assert run("folder", "import", *at, *more, stdin=line, environment=environment).code == 0
        assert run("receive", *at, *more, "--delete", environment=environment).lines == ["z"]


def test_without_a_key_each_command_is_refused_and_says_why(keyed: RunningBroker) -> None:
    for command in (["send", "x"], ["receive"], ["delete", "a-b"], ["queue", "list"], ["tail"]):
        done = run(*command, "--url", keyed.url)
        assert done.code == 1, command
        assert "This request needs a valid API key" in done.error
    with QueueClient(keyed.url) as client:
        assert client.ready()


def test_what_cannot_be_a_key_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("secret\nX: y", "secret word", "sécret", "secret\x00"):
        with pytest.raises(InvalidKeyError) as refused:
            QueueClient("http://127.0.0.1:1", key=key)
        assert "cret" not in str(refused.value)
        for command in (["send", "x"], ["folder", "import", "--url", "http://127.0.0.1:1"]):
            assert main([*command, "--key", key]) == 2
            error = capsys.readouterr().err
            assert "API key" in error
            assert "cret" not in error
    with pytest.raises(InvalidKeyError):
        QueueClient("http://127.0.0.1:1", key="")


@needs_path("/proc/self/cmdline")
def test_a_key_in_the_variable_is_not_in_the_list_of_processes(keyed: RunningBroker, admin: str) -> None:
    with QueueClient(keyed.url, key=admin) as client:
        client.produce("its command line is read once this is printed")
    with subprocess.Popen(
        [*COMMAND, "tail", "--url", keyed.url, "--from-start"],
        env=clean_environment({"WONDERQ_KEY": admin}), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            read_lines(process, 1)
            assert admin.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        finally:
            process.kill()


def test_serve_does_not_take_a_key_for_the_file_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--data", str(tmp_path / "d"), "--key", "x"])
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.slow
def test_keys_work_while_the_broker_runs_and_without_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    codes: set[str] = set()
    with RunningBroker(data) as broker:

        def allowed(key: str | None) -> bool:
            with QueueClient(broker.url, key=key) as client:
                try:
                    client.queues()
                except Refused as error:
                    codes.add(error.code)
                    return False
                return True

        assert allowed(None), "without keys a broker is open"
        first = make(data, "--role", "inspect")
        eventually(lambda: not allowed(None))
        assert allowed(first)
        second = make(data, "--role", "inspect")
        eventually(lambda: allowed(second))
        assert run("key", "revoke", key_id(first), "--yes", "--data", str(data)).code == 0
        eventually(lambda: not allowed(first))
        (data / "keys.json").write_text("damaged")
        reported = f"{data}/keys.json: the keys cannot be read: "

        def is_reported() -> bool:
            assert allowed(second)  # this request makes the broker read the file
            return reported in broker.log_so_far()

        eventually(is_reported)
        assert not allowed(None)
        (data / "keys.json").unlink()
        eventually(lambda: not allowed(second))
        assert not allowed(None)
        assert codes == {"unauthorized"}
        assert broker.terminate() == 0


def test_a_damaged_file_of_keys_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"version": 1, "keys": [{}]}')
    done = run("serve", "--data", str(tmp_path / "d"), "--keys", str(file), "--listen", "127.0.0.1:0")
    assert done.code == 1
    assert f"wonderq: {file}: the keys cannot be read: Object missing required field `id`" in done.error
    assert not (tmp_path / "d").exists()


def test_other_machines_may_reach_a_broker_with_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = make(data, "--role", "admin")
    with RunningBroker(data, "--listen", "0.0.0.0:0") as broker:
        with QueueClient(f"http://127.0.0.1:{broker.port}", key=key) as client:
            assert client.queues()
        assert broker.terminate() == 0
    assert run("key", "revoke", key_id(key), "--yes", "--data", str(data)).code == 0
    done = run("serve", "--data", str(data), "--listen", "0.0.0.0:0")
    assert done.code == 1
    assert "wonderq key create" in done.error


# The canary


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[tuple[RunningBroker, str]]:
    """A broker that its test stops, and a key of an administrator."""
    admin = make(tmp_path / "data", "--role", "admin")
    with RunningBroker(tmp_path / "data", "--log-level", "debug") as broker:
        yield broker, admin


def test_a_key_is_in_no_log_answer_or_file(stopping: tuple[RunningBroker, str]) -> None:
    keyed, admin = stopping
    canary = admin.split("_")[2]
    wire = Wire(keyed.host, keyed.port)
    said = []
    for method, path in (
        ("GET", "/queues"), ("GET", "/nothing"), ("DELETE", "/queues"), ("POST", "/messages/produce"),
        ("GET", "/messages/x"), ("GET", "/queues/none/dev/messages"), ("BREW", "/queues"), ("GET", "/queues?x=1"),
    ):  # fmt: skip
        for value in (
            f"Bearer {admin}",
            f"Bearer {admin}x",
            f"Bearer {admin}, Bearer {admin}",
            admin,
            f"Basic {admin}",
        ):
            for more in ("", "Transfer-Encoding: gzip\r\n", "Bad header\r\n"):
                head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n{more}\r\n"
                reply = wire.send(head.encode())
                said.append(f"{reply.headers} {reply.content!r}")
    said += [
        run(*command, "--key", key).error
        for key in (admin, admin + "x")
        for command in (
            ["queue", "show", "none", "--url", keyed.url],
            ["send", "--url", keyed.url, "--queue", "not!valid", "x"],
            ["send", "--url", "http://127.0.0.1:1", "x"],
            ["folder", "import", "--url", keyed.url],
        )
    ]
    said.append(run("key", "list", "--data", str(keyed.data)).out.decode())
    assert keyed.terminate() == 0
    said.append(keyed.log())
    for code in ("unauthorized", "path_not_found", "forbidden", "queue_not_found", "not_implemented"):
        assert code in "".join(said), "the cases reach what they are meant to"
    assert canary not in "".join(said)
    for file in keyed.data.iterdir():
        assert canary.encode() not in file.read_bytes(), file
