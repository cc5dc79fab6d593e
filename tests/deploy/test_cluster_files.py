"""The files for a cluster on container platforms agree with the program, and what they count on works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster_processes import ClusterProcesses
from tests.support.commands import run_process
from tests.support.image import DOCKERFILE, ROOT, stages
from tests.support.nats_servers import needs_nats
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.auth import keys
from wonderq.auth.roles import CLUSTER_RULES
from wonderq.cli.main import build_parser
from wonderq.config import ROUTE_PORT, ClusterSettings, Peer, Settings, load_cluster
from wonderq.serve_cluster.founding import DEFAULT_SHARDS

FOLDER = ROOT / "tools" / "deploy" / "cluster"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
KUBERNETES = FOLDER / "kubernetes.yaml"

#: Part of a disk that nats-server takes at most, if nobody tells it another one.
SHARE_OF_DISK = 0.75


def of_image() -> dict[str, str]:
    """Return the settings that the image has."""
    [text] = [rest for name, rest in stages()[-1] if name == "ENV"]
    return {name: value for name, value in (each.split("=", 1) for each in text.split()) if name.startswith("WONDERQ_")}


def settings_of(environment: dict[str, str]) -> tuple[ClusterSettings, Settings]:
    cluster, settings, _ = load_cluster({}, of_image() | environment)
    return cluster, settings


def check_command(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).run.__module__ == "wonderq.cli.cluster"


# Compose


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_service_is_a_node_with_the_settings_of_the_others(name: str) -> None:
    service = COMPOSE["services"][name]
    check_command(service["command"].split())
    cluster, settings = settings_of(service["environment"])
    assert cluster.name == name
    assert cluster.peers == tuple(Peer(each, each, ROUTE_PORT) for each in COMPOSE["services"])
    mounts = dict(reversed(each.split(":")) for each in service["volumes"])
    assert mounts == {str(settings.data): name, "/keys": "keys"}
    assert COMPOSE["volumes"].keys() >= set(mounts.values())
    assert {settings.keys_file.parent, cluster.secret_file and cluster.secret_file.parent} == {Path("/keys")}
    assert service["ports"][0].endswith(f":{settings.listen[1]}")
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_user_of_the_image_may_write_the_folders_of_a_node() -> None:
    assert "--owner wonderq --group wonderq --mode 0700 /data /keys\n" in DOCKERFILE.read_text()


# Kubernetes


def resources() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in yaml.safe_load_all(KUBERNETES.read_text()):
        found.setdefault(each["kind"], []).append(each)
    return found


def stateful_set() -> dict[str, Any]:
    [found] = resources()["StatefulSet"]
    spec: dict[str, Any] = found["spec"]
    return spec


def container() -> dict[str, Any]:
    [found] = stateful_set()["template"]["spec"]["containers"]
    return dict(found)


def environment_of(pod: str) -> dict[str, str]:
    """Return the variables of a pod."""
    fields = {"metadata.name": pod}
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container()["env"]
    }


@pytest.mark.parametrize("number", range(3))
def test_each_pod_is_a_node_that_the_others_find(number: int) -> None:
    spec = stateful_set()
    [nodes] = [each for each in resources()["Service"] if each["spec"].get("clusterIP") == "None"]
    name = nodes["metadata"]["name"]
    assert spec["serviceName"] == name
    assert nodes["spec"]["publishNotReadyAddresses"] is True, "a new cluster has no node that is ready"
    pods = [f"wonderq-{each}" for each in range(spec["replicas"])]
    cluster, settings = settings_of(environment_of(pods[number]))
    assert cluster.name == pods[number]
    assert cluster.peers == tuple(Peer(each, f"{each}.{name}", ROUTE_PORT) for each in pods)
    assert spec["podManagementPolicy"] == "Parallel"
    check_command(container()["args"])
    mounts = {each["mountPath"]: each["name"] for each in container()["volumeMounts"]}
    assert mounts[str(settings.data.parent)] == "data"
    assert cluster.secret_file is not None
    assert mounts[str(cluster.secret_file.parent)] == "secrets"
    [init] = spec["template"]["spec"]["initContainers"]
    assert f"{settings.keys_file} || cp /secrets/keys.json {settings.data}/" in init["command"][-1]


def test_ports_probes_and_volumes_are_those_of_the_program() -> None:
    spec, own = stateful_set(), container()
    pod = spec["template"]["spec"]
    ports = {each["name"]: each["containerPort"] for each in own["ports"]}
    assert ports == {"http": Settings(listen=("", 7979)).listen[1], "nats": ROUTE_PORT}
    for service in resources()["Service"]:
        assert all(ports[each["targetPort"]] == each["port"] for each in service["spec"]["ports"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path, _, query = own[probe]["httpGet"]["path"].partition("?")
        assert CLUSTER_RULES[path]["GET"] == "anybody"
        assert query in ("", "strict=false")
    assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE.read_text()
    mounts = {each["name"] for each in own["volumeMounts"]}
    [claim] = spec["volumeClaimTemplates"]
    assert mounts == {claim["metadata"]["name"]} | {each["name"] for each in pod["volumes"]}
    [policy] = resources()["NetworkPolicy"]
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports.keys()
    assert all("from" in rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "nats"}])


def test_the_disk_has_room_for_what_the_servers_reserve() -> None:
    _, settings = settings_of(environment_of("wonderq-0"))
    [claim] = stateful_set()["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert size.endswith("Gi")
    assert DEFAULT_SHARDS * settings.log_bytes <= SHARE_OF_DISK * int(size.removesuffix("Gi")) * 2**30


def test_no_more_pods_are_evicted_than_the_quorum_can_do_without() -> None:
    [budget] = resources()["PodDisruptionBudget"]
    replicas = stateful_set()["replicas"]
    assert replicas - budget["spec"]["maxUnavailable"] > replicas / 2
    labels = stateful_set()["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == labels
    [term] = stateful_set()["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert (term["labelSelector"]["matchLabels"], term["topologyKey"]) == (labels, "kubernetes.io/hostname")


def test_the_files_follow_the_schemas_of_kubernetes() -> None:
    if shutil.which("kubeconform"):
        done = subprocess.run(
            ["kubeconform", "-strict", str(KUBERNETES)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return
    validator = pytest.importorskip(
        "kubernetes_validate",
        reason="kubeconform and kubernetes-validate are not installed: pip install --group deploy",
    )
    for kind, found in resources().items():
        for each in found:
            validator.validate(each, validator.latest_version(), strict=True)
            with pytest.raises(validator.ValidationError):
                validator.validate(
                    {**each, "spec": {**each["spec"], "wrong": 1}}, validator.latest_version(), strict=True
                )
        assert found, kind


# Behavior of nodes that Compose and Kubernetes rely on


@needs_nats
@pytest.mark.parametrize("is_shared", [True, False], ids=["one file for all", "a copy for each node"])
def test_nodes_that_get_their_keys_before_they_start(tmp_path: Path, is_shared: bool) -> None:
    """With Compose, the nodes share a file. With Kubernetes, each begins with a copy of the same one."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of sixteen characters and more\n")
    first = tmp_path / "keys.json"
    _, key = keys.create(first, name="admin", roles=["admin"], queues=["*"])
    options = ["--shards", "3", "--secret-file", str(secret), *(["--keys", str(first)] if is_shared else [])]
    for name in "abc":
        (tmp_path / name).mkdir(mode=0o700)
        if not is_shared:
            shutil.copy(first, tmp_path / name / "keys.json")
    with ClusterProcesses(tmp_path, "abc", *options) as cluster:
        eventually(lambda: all(each.is_ready for each in cluster.nodes), "all nodes to be ready")
        where = ["--keys", str(first)] if is_shared else ["--data", str(tmp_path / "b")]
        done = run_process("key", "create", "second", "--role", "look", *where)
        assert done.code == 0, done.error
        for each in (key, done.out.decode().strip()):
            for node in cluster.nodes:
                eventually(lambda node=node, each=each: looks(node.url, each), "the key to be known")  # type: ignore[misc]
        assert [node("GET", "/cluster").status for node in cluster.nodes] == [401] * 3
        assert [node.log().count("cannot be followed") for node in cluster.nodes] == [0] * 3


def looks(url: str, key: str) -> bool:
    """Return whether a node takes a key."""
    return run_process("cluster", "status", "--url", url, environment={"WONDERQ_KEY": key}).code == 0
