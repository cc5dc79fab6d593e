"""`wonderq serve`: where its settings come from, and how it refuses to start."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import COMMAND, interrupt, read_lines, run, started
from tests.support.needs import needs, needs_path
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq import logs
from wonderq import serve as serve_module
from wonderq.broker.broker import Broker
from wonderq.cli.main import main, raise_file_limit
from wonderq.config import ConfigError, Settings, load
from wonderq.folder.lock import locked
from wonderq.httpd.parser import MAX_BODY_BYTES
from wonderq.model.limits import UNLIMITED, Limits
from wonderq.runtime.signals import Signals
from wonderq_storage import FileLog, SyncPolicy

# Sources of settings


def test_without_anything_the_defaults_count() -> None:
    assert load({}, {}) == Settings()
    assert Settings().listen == ("127.0.0.1", 7979)
    assert str(Settings().fsync) == "always"


def test_flag_over_variable_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text('fsync = "os"\nwaiting_consumers = 7\nlisten = "127.0.0.1:1"\ncreate_queues = false\n')
    environment = {"WONDERQ_FSYNC": "interval:5", "WONDERQ_LISTEN": "127.0.0.1:2", "OTHER": "x"}
    settings = load({"listen": "127.0.0.1:3"}, environment, file)
    assert settings.listen == ("127.0.0.1", 3)
    assert settings.fsync == SyncPolicy("interval", 5)
    assert settings.waiting_consumers == 7
    assert settings.create_queues is False
    assert settings.data == Settings().data


def test_a_variable_may_name_the_file_and_the_flag_wins(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.toml", tmp_path / "theirs.toml"
    ours.write_text("waiting_consumers = 1")
    theirs.write_text("waiting_consumers = 2")
    assert load({}, {"WONDERQ_CONFIG": str(theirs)}).waiting_consumers == 2
    assert load({}, {"WONDERQ_CONFIG": str(theirs)}, ours).waiting_consumers == 1


def test_an_unknown_variable_is_refused_by_name() -> None:
    for name, meant in (("WONDERQ_FSNYC", " (did you mean WONDERQ_FSYNC?)"), ("WONDERQ_XYZZY", "")):
        with pytest.raises(ConfigError) as refused:
            load({}, {name: "always"})
        assert str(refused.value).startswith(f"{name} is set, and WonderQ has no such variable{meant}. ")
    with pytest.raises(ConfigError, match=r"WONDERQ_fsync .*"):
        load({}, {"WONDERQ_fsync": "os"})


def test_variables_that_are_for_others_are_no_settings() -> None:
    """Kubernetes sets variables for each service; those of a service called wonderq begin as ours do."""
    services = {
        "WONDERQ_SERVICE_HOST": "10.0.0.1",
        "WONDERQ_SERVICE_PORT": "7979",
        "WONDERQ_SERVICE_PORT_HTTP": "7979",
        "WONDERQ_PORT": "tcp://10.0.0.1:7979",
        "WONDERQ_PORT_7979_TCP": "tcp://10.0.0.1:7979",
        "WONDERQ_PORT_7979_TCP_ADDR": "10.0.0.1",
        "WONDERQ_MAIL_QUEUE_SERVICE_HOST": "10.0.0.2",
        "WONDERQ_MAIL_QUEUE_PORT_80_UDP_PROTO": "udp",
    }
    assert load({}, {**services, "WONDERQ_URL": "http://127.0.0.1:1", "WONDERQ_KEY": "wq"}) == Settings()


def test_limits_and_lists(tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text('hosts = ["A.example", "fd00::1"]\nqueues = "unlimited"\ntotal_bytes = 5000\ncors_origins = []\n')
    environment = {"WONDERQ_CORS_ORIGINS": "https://a.example, http://localhost:3000", "WONDERQ_LISTINGS": "3"}
    settings = load({"in_flight_per_queue": "7", "requests_per_second": "Unlimited"}, environment, file)
    assert settings.hosts == ("a.example", "fd00::1")
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert settings.requests_per_second == UNLIMITED
    expected = Limits(queues=UNLIMITED, total_bytes=5000, listings=3, in_flight_per_queue=7)
    assert settings.limits == expected
    assert Settings().limits == Limits()
    assert Settings().max_body_bytes == MAX_BODY_BYTES


def test_every_limit_can_be_set_but_those_of_the_api() -> None:
    """A limit that somebody adds needs a setting."""
    fixed = {"visibility_timeout_ms", "delay_ms", "wait_s"}
    limits = {each.name for each in fields(Limits)} - fixed
    assert limits <= {each.name for each in fields(Settings)}
    for name in limits:
        assert getattr(load({name: "1500" if name != "batch_bytes" else "2000000"}, {}).limits, name) in (
            1500,
            2_000_000,
        )


def test_the_command_passes_on_flags_variables_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text('fsync = "os"\nwaiting_consumers = 7\nsegment_bytes = 40000000')
    monkeypatch.setenv("WONDERQ_FSYNC", "interval:5")
    monkeypatch.setenv("WONDERQ_WAITING_CONSUMERS", "8")
    given: list[tuple[Settings, dict[str, str]]] = []
    monkeypatch.setattr(serve_module, "serve", lambda settings, _, sources: given.append((settings, sources)))
    monkeypatch.setattr(logs, "set_up_logging", lambda *_: logging.NullHandler())
    flags = ["--waiting-consumers", "9", "--insecure", "--create-queues", "off", "--ui-mask", r"a=\d+", "--ui-mask=b,c"]
    assert main(["serve", "--config", str(file), *flags]) == 0
    [(settings, sources)] = given
    assert settings.ui_mask == (r"a=\d+", "b,c")
    assert sources["fsync"] == "WONDERQ_FSYNC"
    assert sources["segment_bytes"] == f"segment_bytes in {file}"
    assert (settings.waiting_consumers, str(settings.fsync), settings.segment_bytes) == (9, "interval:5", 40_000_000)
    assert settings.insecure is True
    assert settings.create_queues is False


def test_a_real_broker_says_what_it_runs_with(tmp_path: Path) -> None:
    with started("serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--fsync", "os") as process:
        [line] = read_lines(process, 1)
        assert line.endswith(f" (data {tmp_path / 'd'}, fsync os, pid {process.pid})")
        code, error = interrupt(process)
    assert code == 0
    assert error.rstrip().endswith("stopped cleanly")


# Invalid settings and folders


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("listen", "7979", "expected HOST:PORT"),
        ("listen", "127.0.0.1:70000", "expected HOST:PORT"),
        ("fsync", "never", "use always, os, or interval:MS"),
        ("fsync", "interval:0", "use always, os, or interval:MS"),
        ("waiting_consumers", "10001", "expected a whole number from 0 to 10000"),
        ("waiting_consumers", "many", "expected a whole number"),
        ("create_queues", "perhaps", "expected true or false"),
        ("segment_bytes", "1000", "expected a whole number from 33554432"),
        ("log_level", "loud", "expected one of debug, info, warning, error"),
        ("log_format", "xml", "expected one of console, json"),
        ("access_log", "perhaps", "expected true or false"),
        ("message_bytes", "16777217", "expected a whole number from 1 to 16777216"),
        ("batch_messages", "999", "expected a whole number from 1000 to 10000"),
        ("batch_bytes", "1000", "expected a whole number from 1048576 to 268435456"),
        ("queues", "0", "expected a whole number from 1 to 1000000000000000000, or unlimited"),
        ("total_messages", "-1", "or unlimited"),
        ("requests_per_second", "none", "expected a whole number from 1 to 1000000, or unlimited"),
        ("listings", "unlimited", "expected a whole number from 1 to 10000"),
        ("hosts", "mine.example:80", "expected a host name without a port, or several separated by commas"),
        ("hosts", "*", "expected a host name"),
        ("cors_origins", "*", "expected an origin such as https://example.com, or several"),
        ("cors_origins", "https://a.example/, https://b.example", "expected an origin"),
    ],
)
def test_a_bad_value_names_its_source(
    name: str, text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text(f'{name} = "{text}"')
    flag, variable = "--" + name.replace("_", "-"), "WONDERQ_" + name.upper()
    for flags, environment, config, source in (
        ({name: text}, {}, None, flag),
        ({}, {variable: text}, None, variable),
        ({}, {}, file, f"{name} in {file}"),
    ):
        with pytest.raises(ConfigError) as refused:
            load(flags, environment, config)
        message = str(refused.value)
        assert message.startswith(f"{source}: {text!r} cannot be used: ")
        assert expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("treads = 3", "unknown setting 'treads'; the settings are data, listen,"),
        ("waiting_consumers = ", "the configuration file cannot be read"),
        ("waiting_consumers = [1]", "waiting_consumers in"),
        ('hosts = ["a", 1.5, "b c"]', "hosts in"),
        ("\xff", "the configuration file cannot be read"),
    ],
)
def test_a_bad_file_is_named(content: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_bytes(content.encode("latin-1"))
    done = run("serve", "--config", str(file), "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0")
    assert done.code == 2
    assert str(file) in done.error
    assert expected in done.error
    assert not (tmp_path / "d").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("serve", environment={"WONDERQ_CONFIG": str(tmp_path / "none.toml")})
    assert done.code == 2
    assert f"{tmp_path}/none.toml: the configuration file cannot be read: No such file or directory" in done.error


# Refusing to start


def refused(*arguments: str) -> str:
    done = run("serve", *arguments)
    assert done.code == 1
    assert done.out == b""
    assert "Traceback" not in done.error
    [line] = [line for line in done.error.splitlines() if line.startswith("wonderq: ")]
    return line


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_an_address_that_others_reach_needs_insecure(host: str, tmp_path: Path) -> None:
    line = refused("--listen", f"{host}:0", "--data", str(tmp_path / "d"))
    assert "can be reached from other machines" in line
    assert "--insecure" in line
    assert not (tmp_path / "d").exists()


def test_insecure_allows_it(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "d", "--listen", "0.0.0.0:0", "--insecure") as broker:
        with QueueClient(f"http://127.0.0.1:{broker.port}") as client:
            assert client.ready()
        assert broker.terminate() == 0


def test_a_second_broker_on_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with RunningBroker(folder) as broker, QueueClient(broker.url) as client:
        line = refused("--listen", "127.0.0.1:0", "--data", str(folder))
        assert line == f"wonderq: {folder} is in use by another process. Stop that process, or choose another folder."
        client.produce("the first one goes on")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused("--listen", address, "--data", str(tmp_path / "d"))
    assert line.startswith(f"wonderq: cannot listen on {address}: Address already in use.")
    assert "--listen" in line
    assert not (tmp_path / "d").exists()


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot listen" in refused("--listen", "203.0.113.1:0", "--insecure", "--data", str(tmp_path / "d"))
    assert "is not an address of this machine" in refused(
        "--listen", "nowhere.invalid:0", "--data", str(tmp_path / "d")
    )
    assert not (tmp_path / "d").exists()


def test_a_damaged_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with closing(Broker(FileLog(folder))) as broker:
        for number in range(3):
            broker.produce("default", [f"message {number}"])
    segment = folder / "0000000001.wal"
    content = bytearray(segment.read_bytes())
    place = content.index(b"message 1")
    content[place] ^= 1
    segment.write_bytes(content)
    line = refused("--listen", "127.0.0.1:0", "--data", str(folder))
    named, offset = line.removeprefix("wonderq: the log is damaged: ").split(", byte ", 1)
    assert named == str(segment)
    assert 0 < place - int(offset.split(":")[0]) < 200, "the offset is that of the group with the damage"
    assert f"'wonderq folder verify {folder}'" in line
    assert f"'wonderq folder repair {folder} NEW'" in line
    assert segment.read_bytes() == content
    verified = run("folder", "verify", str(folder))
    assert verified.code == 1
    assert f"{segment}, byte {offset.split(':')[0]}:" in verified.error


def test_too_few_file_descriptors(tmp_path: Path) -> None:
    for hard, connections, allowed in ((600, 2000, False), (600, 300, True)):
        command = f"ulimit -Sn 100; ulimit -Hn {hard}; exec {sys.executable} -m wonderq serve --listen 127.0.0.1:0"
        options = f"--data {tmp_path}/d --connections {connections} --waiting-consumers 100"
        with subprocess.Popen(["sh", "-c", f"{command} {options}"], stdout=-1, stderr=-1, text=True) as process:
            assert process.stdout is not None
            if allowed:
                assert process.stdout.readline().startswith("wonderq listening")
                process.terminate()
            _, error = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == (0 if allowed else 1)
        assert ("this process may have 600" in error) is not allowed
        assert ("--connections" in error) is not allowed


def test_connections_to_endpoints_need_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_000, 1_000))
    settings = Settings(data=tmp_path / "d", connections=500, push_requests=200)
    serve_module.check_file_limit(settings)
    with pytest.raises(serve_module.StartError, match="900 connections and the log may need"):
        serve_module.check_file_limit(replace(settings, push_hosts=("*",)))


def test_only_the_command_line_raises_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600, 20_000))
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: raised.append(limit))
    with pytest.raises(serve_module.StartError, match="this process may have 600"):
        serve_module.serve(Settings(data=tmp_path / "d"), Signals())
    assert raised == []
    raise_file_limit()
    assert raised == [(resource.RLIMIT_NOFILE, (20_000, 20_000))]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSPC, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize(
    "call",
    [
        "fcntl.flock",
        pytest.param("os.posix_fallocate", marks=needs(os, "posix_fallocate")),
        pytest.param("os.fdatasync", marks=needs(os, "fdatasync")),
    ],
)
def test_a_failed_start_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(call, failing)
    folder = tmp_path / "a" / "d"
    with pytest.raises(serve_module.StartError) as refused:
        serve_module.open_broker(Settings(data=folder))
    assert str(folder) in str(refused.value)
    assert os.strerror(code) in str(refused.value)
    if call != "os.fdatasync":  # the last step of a first segment
        assert os.listdir(tmp_path) == []


@needs_path("/dev/full")
def test_a_full_device_behind_standard_output_does_not_stop_the_start(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0")
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen([*COMMAND, "serve", *data], stdout=full, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        line = next(each for each in lines if "standard output" in each)
        assert "standard output cannot be written (No space left on device): wonderq listening on http" in line
        process.terminate()
        assert list(lines)[-1].endswith("stopped cleanly\n")
    assert process.returncode == 0


def test_more_consumers_may_wait_than_connect(tmp_path: Path) -> None:
    options = ("--waiting-consumers", "300", "--connections", "300")
    line = refused("--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), *options)
    assert "300 consumers may wait" in line
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--batch-bytes", "33554433"), "takes more than half of a segment of 67108864"),
        (("--batch-bytes", "16777217", "--segment-bytes", "33554432"), "--segment-bytes"),
        (("--message-bytes", "2000000", "--batch-bytes", "1999999"), "do not fit in a batch of 1999999"),
    ],
)
def test_sizes_that_do_not_go_together(options: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    assert expected in refused("--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), *options)
    assert not (tmp_path / "d").exists()


def test_help_says_what_is_unlimited() -> None:
    done = run("serve", "--help")
    text = " ".join(done.out.decode().split())
    assert "maximum number of messages in a queue (default unlimited)" in text
    assert "9223372036854775807" not in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    # A file in the way stops root as well, whom no permission stops.
    (tmp_path / "file").write_text("in the way")
    line = refused("--listen", "127.0.0.1:0", "--data", str(tmp_path / "file" / "d"))
    assert line == (
        f"wonderq: cannot use {tmp_path}/file/d: Not a directory. Choose another path. Nothing was changed."
    )


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        try:
            (folder / "probe").touch()
        except PermissionError:
            pass
        else:
            pytest.skip("this user may write anywhere")
        line = refused("--listen", "127.0.0.1:0", "--data", str(folder))
    finally:
        folder.chmod(0o700)
    assert "Permission denied" in line
    assert str(folder) in line


@needs_path("/proc/self")
def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    """A path for users who may write anything: /proc accepts no files from any user."""
    line = refused("--listen", "127.0.0.1:0", "--data", "/proc/wonderq")
    assert "cannot use /proc" in line


def test_stopping_lets_go_of_the_folder_at_once(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "d") as broker:
        assert broker.terminate() == 0
    with locked(tmp_path / "d") as files:
        assert len(files) == 1
