"""The NATS server of a node of a cluster, as a child process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, certificate_at, certificate_in
from tests.support.nats_servers import needs_nats
from tests.support.waiting import eventually
from wonderq_storage.jetstream_stream import check_servers
from wonderq_storage.nats import Connection, JetStream, NatsError
from wonderq_storage.nats.address import Address
from wonderq_storage.nats.child_server import ChildServer, former_name
from wonderq_storage.nats.local_servers import find_program, free_ports

pytestmark = needs_nats


def server_in(folder: Path, port: int, **more: object) -> ChildServer:
    program = find_program()
    assert program is not None
    options: dict[str, object] = {"name": "a", "route_host": "127.0.0.1", "routes": {"a": ("127.0.0.1", 1)}, **more}
    return ChildServer(program, folder, port=port, **options)  # type: ignore[arg-type]


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[ChildServer]:
    server = server_in(tmp_path / "na ts", port)
    server.start()
    yield server
    server.stop()


def answers(address: Address) -> bool:
    with closing(Connection([address])) as connection:
        try:
            JetStream(connection).call("STREAM.NAMES", timeout_s=1)
        except NatsError:
            return False
        return True


def test_it_syncs_and_serves_only_who_knows_its_password(server: ChildServer, port: int) -> None:
    eventually(lambda: answers(server.address))
    with closing(Connection([server.address])) as connection:
        assert check_servers(JetStream(connection)), "it may be asked, and syncs"
    assert not answers(Address("127.0.0.1", port, tls=False))
    assert not answers(Address("127.0.0.1", port, tls=False, user="wonderq", password="wrong"))


def test_others_cannot_read_its_password(server: ChildServer, tmp_path: Path) -> None:
    assert (tmp_path / "na ts" / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert server.address.password
    assert server.address.password not in repr(server.address)


def test_its_folder_tells_its_name(server: ChildServer, tmp_path: Path) -> None:
    eventually(lambda: answers(server.address))
    assert former_name(tmp_path / "na ts") == "a"
    assert not list((tmp_path / "na ts").glob("*.tmp"))


def test_a_folder_without_messages_has_no_name(tmp_path: Path) -> None:
    assert former_name(tmp_path) is None
    (tmp_path / "nats.conf").write_text('server_name: "a"\n')
    assert former_name(tmp_path) is None, "no server has run there"
    (tmp_path / "store").mkdir()
    assert former_name(tmp_path) == "a"
    (tmp_path / "nats.conf").write_text("")
    assert former_name(tmp_path) is None


def test_it_is_started_again(server: ChildServer) -> None:
    eventually(lambda: answers(server.address))
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: server.pid not in (before, None))
    eventually(lambda: answers(server.address))


def test_it_is_started_again_when_the_system_has_room_for_a_process_again(
    server: ChildServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    eventually(lambda: answers(server.address))
    before, tries = server.pid, []
    assert before is not None
    popen = subprocess.Popen

    def launch(*arguments: Any, **options: Any) -> Any:
        tries.append(arguments)
        if len(tries) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return popen(*arguments, **options)

    monkeypatch.setattr("wonderq_storage.nats.child_server._RESTART_S", 0.01)
    monkeypatch.setattr("wonderq_storage.nats.child_server.subprocess.Popen", launch)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: server.pid not in (before, None))
    eventually(lambda: answers(server.address))
    assert len(tries) == 3
    assert "Too many open files" in caplog.text


def test_a_server_that_was_left_behind_ends_first(tmp_path: Path, port: int) -> None:
    left = server_in(tmp_path, port)
    left.start()
    eventually(lambda: answers(left.address))
    left._ending.set()  # as if its node was killed
    process = left._process
    assert process is not None
    server = server_in(tmp_path, port)
    server.start()
    try:
        eventually(lambda: answers(server.address))
        assert process.wait(5) is not None
    finally:
        server.stop()


def test_another_program_with_the_number_of_a_former_server_goes_on(tmp_path: Path, port: int) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        (tmp_path / "nats.pid").write_text(str(other.pid))
        server = server_in(tmp_path, port)
        server.start()
        server.stop()
        assert other.poll() is None
        other.kill()


def test_nobody_may_have_the_number_of_a_former_server(tmp_path: Path, port: int) -> None:
    with subprocess.Popen(["/bin/sleep", "0"]) as ended:
        ended.wait()
    (tmp_path / "nats.pid").write_text(str(ended.pid))
    server = server_in(tmp_path, port)
    server.start()
    try:
        eventually(lambda: answers(server.address))
    finally:
        server.stop()


def test_a_port_that_is_in_use_is_refused(server: ChildServer, tmp_path: Path, port: int) -> None:
    eventually(lambda: answers(server.address))
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be used"):
        server_in(tmp_path / "other", port).start()


@pytest.mark.slow
def test_servers_find_each_other_with_the_same_secret(tmp_path: Path) -> None:
    ports = free_ports(6)
    routes = {name: ("127.0.0.1", ports[number]) for number, name in enumerate("abc")}
    secrets = {"a": 'a "quoted" \\ secret/@:#', "b": 'a "quoted" \\ secret/@:#', "c": "another secret, longer"}
    servers = [
        server_in(tmp_path / name, ports[3 + number], name=name, routes=routes, secret=secrets[name])
        for number, name in enumerate("abc")
    ]
    try:
        for each in servers:
            each.start()
        eventually(
            lambda: answers(servers[0].address) and answers(servers[1].address), "two of three to elect a leader"
        )
        assert not answers(servers[2].address), "nobody lets it in"
    finally:
        for each in servers:
            each.stop()


@pytest.mark.slow
@pytest.mark.parametrize("stranger", ["another authority", "no certificate"])
def test_a_server_needs_a_certificate_of_the_authority_to_join(tmp_path: Path, stranger: str) -> None:
    authority, other = Authority(tmp_path / "good"), Authority(tmp_path / "other")
    ports = free_ports(6)
    routes = {name: ("127.0.0.1", ports[number]) for number, name in enumerate("abc")}
    files = {
        "a": authority.issue("a"),
        "b": authority.issue("b"),
        "c": other.issue("c") if stranger == "another authority" else None,
    }
    servers = [
        server_in(tmp_path / name, ports[3 + number], name=name, routes=routes, tls=files[name])
        for number, name in enumerate("abc")
    ]
    try:
        for each in servers:
            each.start()
        eventually(
            lambda: answers(servers[0].address) and answers(servers[1].address), "two of three to elect a leader"
        )
        eventually(lambda: "TLS route handshake error" in servers[0].output.read_text(), "the third to be refused")
        assert not answers(servers[2].address)
        servers[2].stop()
        servers[2] = server_in(tmp_path / "c", ports[5], name="c", routes=routes, tls=authority.issue("c"))
        servers[2].start()
        eventually(lambda: answers(servers[2].address), "the third to join")
    finally:
        for each in servers:
            each.stop()


def test_a_renewed_certificate_is_used_after_a_reload_and_a_damaged_one_is_not(tmp_path: Path, port: int) -> None:
    authority = Authority(tmp_path / "authority")
    files = authority.issue("a")
    routes = {name: ("127.0.0.1", place) for name, place in zip("ab", free_ports(2), strict=True)}
    server = server_in(tmp_path / "a", port, routes=routes, tls=files)
    client = authority.issue("client")
    server.start()

    def is_shown() -> bool:
        try:
            return certificate_at(routes["a"][1], client) == certificate_in(files)
        except OSError:
            return False

    try:
        eventually(is_shown, "the server to have its certificate")
        authority.issue("a")
        assert not is_shown()
        server.reload()
        eventually(is_shown, "the server to read its certificate again")
        assert files.key is not None
        files.key.write_text("nonsense")
        with pytest.raises(OSError, match=r"a\.key is not the key of .*a\.pem"):
            server.reload()
        assert is_shown()
    finally:
        server.stop()
