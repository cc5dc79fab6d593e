"""The settings of a node of a cluster."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.nats_servers import needs_nats
from wonderq.config import DEFAULT_SHARD_BYTES, MAX_SHARED_BATCH_BYTES, ConfigError, Peer, load, load_cluster
from wonderq.serve import StartError
from wonderq.serve_cluster.nats_servers import open_nats
from wonderq.serve_cluster.serving import url_of_node
from wonderq_storage.nats.local_servers import free_ports


def test_flags_variables_and_the_table_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text('listen = "127.0.0.1:1"\n[cluster]\nname = "c"\nshards = 4\nreplicas = 1\n')
    environment = {"WONDERQ_CLUSTER_SHARDS": "8", "WONDERQ_DATA": "folder"}
    cluster, settings, _ = load_cluster({"replicas": "3"}, environment, file)
    assert (cluster.name, cluster.shards, cluster.replicas) == ("c", 8, 3)
    assert (settings.listen, settings.data) == (("127.0.0.1", 1), Path("folder"))
    assert settings.replicas is None
    assert (settings.batch_bytes, settings.log_bytes) == (MAX_SHARED_BATCH_BYTES, DEFAULT_SHARD_BYTES)


def test_the_other_nodes(tmp_path: Path) -> None:
    cluster, _, _ = load_cluster({"peers": "a=10.0.0.1, b=host:81 ,c=[::1],d=[::1]:82"}, {})
    assert cluster.peers == (
        Peer("a", "10.0.0.1", 7981),
        Peer("b", "host", 81),
        Peer("c", "::1", 7981),
        Peer("d", "::1", 82),
    )


@pytest.mark.parametrize(
    "peers", ["", "a", "a=", "=x", "a=x,a=y", "a=x:0", "a=x:99999", "a=x:y", "a b=x", f"a={'x' * 256}"]
)
def test_peers_that_cannot_be_used_are_refused(peers: str) -> None:
    with pytest.raises(ConfigError, match="--peers"):
        load_cluster({"peers": peers}, {})


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        ({"fsync": "os"}, {}, "--fsync: a node of a cluster has no such setting"),
        ({}, {"WONDERQ_LOG": "nats://x"}, "WONDERQ_LOG: a node of a cluster has no such setting"),
        ({}, {"WONDERQ_CLUSTER_NAMES": "x"}, "did you mean WONDERQ_CLUSTER_NAME"),
        ({"shards": "0"}, {}, "from 1 to 256"),
        ({"replicas": "2"}, {}, "1 or 3"),
        ({"name": "a b"}, {}, "--name"),
    ],
)
def test_a_setting_that_a_node_cannot_have_is_refused(
    flags: dict[str, str], environment: dict[str, str], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        load_cluster(flags, environment)


def test_a_file_of_a_node_is_none_of_a_broker_but_the_commands_for_keys_read_it(tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text(f'data = "{tmp_path}"\n[cluster]\nname = "c"\n')
    (tmp_path / "cluster.json").write_text("{}")
    done = run("serve", "--config", str(file))
    assert done.code == 2
    assert "unknown setting 'cluster'" in done.error
    assert load({}, {"WONDERQ_CLUSTER_NAME": "c"}, file).data == tmp_path
    assert run("key", "create", "test", "--role", "admin", "--config", str(file)).code == 0
    assert (tmp_path / "keys.json").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "the node has no name. Set --name"),
        (("--name", "d", "--peers", "a=127.0.0.1,b=127.0.0.1:2"), "--peers has no d.*but a, b"),
        (("--name", "a", "--peers", "a=127.0.0.1", "--replicas", "3"), "--replicas is 3.*only 1 NATS servers"),
        (("--name", "a", "--peers", "a=127.0.0.1", "--batch-bytes", str(16 << 20)), "a batch may have"),
        (
            ("--name", "a", "--peers", "a=10.0.0.1,b=10.0.0.2", "--listen", "0.0.0.0:0", "--keys", "KEYS"),
            "would accept any other one.*--secret-file",
        ),
        (
            ("--name", "a", "--peers", "a=10.0.0.1,b=10.0.0.2", "--secret-file", "SHORT"),
            "fewer than 16 characters",
        ),
        (("--name", "a", "--peers", "a=10.0.0.1,b=10.0.0.2", "--secret-file", "NONE"), "cannot be read"),
        (("--name", "a", "--peers", "a=127.0.0.1,b=127.0.0.1:2", "--tls-ca-file", "SHORT"), "TLS needs all of"),
        (("--name", "a", "--nats-url", "nats://127.0.0.1:2", "--tls-cert-file", "SHORT"), "TLS needs all of"),
        (("--name", "a", "--nats-url", "nats://127.0.0.1:2", "--tls-ca-file", "NONE"), "files of TLS.*none"),
    ],
)
def test_a_node_that_cannot_start_says_why(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    (tmp_path / "short").write_text("x")
    places = {"SHORT": str(tmp_path / "short"), "NONE": str(tmp_path / "none"), "KEYS": str(tmp_path / "keys.json")}
    given = [places.get(each, each) for each in arguments]
    listen = [] if "--listen" in given else ["--listen", "127.0.0.1:0"]
    done = run("cluster", "start", "--data", str(tmp_path / "data"), *listen, *given)
    assert done.code == 1
    assert re.search(text, done.error), done.error
    assert not (tmp_path / "data").exists()


@needs_nats
def test_others_cannot_read_the_folder_of_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    cluster, settings, _ = load_cluster(
        {"name": "a", "peers": "a=127.0.0.1", "data": str(folder), "nats_port": str(free_ports(1)[0])}, {}
    )
    with ExitStack() as stack:
        open_nats(cluster, settings, stack)
    assert [each.stat().st_mode & 0o777 for each in (folder.parent, folder)] == [0o700, 0o700]


def test_a_folder_with_copies_of_logs_is_refused_under_another_name(tmp_path: Path) -> None:
    """NATS would remove the copies of the former name, because they are of a server that it does not expect here."""
    nats = tmp_path / "nats"
    (nats / "store").mkdir(parents=True)
    (nats / "nats.conf").write_text('server_name: "a"\n')
    words = f"{tmp_path} has the copies of the node a, and --name is b.*empty folder.*wonderq cluster replace a b"
    cluster, settings, _ = load_cluster(
        {"name": "b", "peers": "b=127.0.0.1", "data": str(tmp_path), "nats_port": str(free_ports(1)[0])}, {}
    )
    with ExitStack() as stack, pytest.raises(StartError, match=words):
        open_nats(cluster, settings, stack)
    assert (nats / "nats.conf").read_text() == 'server_name: "a"\n'


@pytest.mark.parametrize(
    ("listen", "public_url", "url"),
    [
        ("10.0.0.9:7979", None, "http://10.0.0.9:80"),
        ("0.0.0.0:7979", None, "http://host-b:80"),
        ("[::]:7979", None, "http://host-b:80"),
        ("[::1]:7979", None, "http://[::1]:80"),
        ("0.0.0.0:7979", "https://queues.example.com", "https://queues.example.com"),
    ],
)
def test_a_node_announces_an_address_that_others_can_use(listen: str, public_url: str | None, url: str) -> None:
    flags = {"name": "b", "peers": "a=host-a,b=host-b", "listen": listen}
    cluster, settings, _ = load_cluster(flags | ({"public_url": public_url} if public_url else {}), {})
    assert url_of_node(cluster, settings, 80) == url
