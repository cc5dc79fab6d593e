"""The systemd unit and the Dockerfile do what they promise, as far as that can be tried without installing them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from tests.support.alerting import of_dashboard
from tests.support.broker_process import RunningBroker
from tests.support.image import stages
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.cli.exit_codes import USAGE
from wonderq.cli.main import build_parser
from wonderq.config import load

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tools" / "deploy" / "wonderq.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings() -> dict[str, list[str]]:
    """Return the settings of the unit in their order, by name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        found[name].append(value)
    return found


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# The unit


@needs_systemd
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    there = tmp_path / "wonderq.service"
    there.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/wonderq/bin/wonderq", "/bin/true"))
    assert analyze("verify", str(there)) == ""


@needs_systemd
def test_the_rating_is_the_documented_one() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(UNIT)], capture_output=True, text=True, check=False
    )
    [rating] = re.findall(r"exposure level for wonderq.service: (\S+)", done.stdout)
    [documented] = re.findall(r"rates it (\S+) of 10", (ROOT / "docs" / "OPERATING.md").read_text(encoding="utf-8"))
    assert rating == documented


def test_the_command_and_its_exit_code_are_those_of_the_program() -> None:
    _, *arguments = shlex.split(settings()["ExecStart"][0])
    options = build_parser().parse_args(arguments)
    assert options.run.__module__ == "wonderq.cli.serve"
    assert options.data == f"/var/lib/{settings()['StateDirectory'][0]}"
    assert settings()["RestartPreventExitStatus"] == [str(USAGE)]
    assert int(settings()["LimitNOFILE"][0]) > load({}, {}).connections


def test_a_start_may_take_as_long_as_its_log_does() -> None:
    """tests/cli/test_service_manager.py has the notifications. Without them, systemd would end the start after its time-out."""
    assert settings()["Type"] == ["notify"]
    assert settings()["TimeoutStartSec"] == ["infinity"]
    assert "AF_UNIX" in settings()["RestrictAddressFamilies"][0].split()


def test_only_the_broker_reads_its_folder() -> None:
    assert settings()["StateDirectoryMode"] == ["0700"]
    assert settings()["UMask"] == ["0077"]


def test_the_process_metrics_need_what_the_unit_shows(tmp_path: Path) -> None:
    """They need /proc/stat, which ProcSubset=pid hides. The dashboard uses them."""

    def shown(proc: str) -> set[str]:
        registry = CollectorRegistry()
        ProcessCollector(proc=proc, registry=registry)
        return set(re.findall(r"^(process_\w+) ", generate_latest(registry).decode(), re.MULTILINE))

    (tmp_path / "self").symlink_to("/proc/self")
    (tmp_path / str(os.getpid())).symlink_to("/proc/self")
    assert shown(str(tmp_path)) == set()
    (tmp_path / "stat").symlink_to("/proc/stat")
    used = {name for query in of_dashboard() for name in re.findall(r"\bprocess_\w+", query)}
    assert len(used) == 5
    assert used <= shown(str(tmp_path))
    assert settings()["ProcSubset"] in ([], ["all"])


def calls_of(group: str) -> set[str]:
    """Return the system calls of a group, with those of the groups in it."""
    found: set[str] = set()
    for line in map(str.strip, analyze("syscall-filter", group).splitlines()[1:]):
        if line.startswith("@"):
            found |= calls_of(line)
        elif line and not line.startswith("#"):
            found.add(line)
    return found


def permitted() -> set[str]:
    """Return the system calls that the unit permits: the first filter permits, and each later one adds or removes."""
    allowed: set[str] = set()
    for value in settings()["SystemCallFilter"]:
        names = value.removeprefix("~").split()
        calls = {call for name in names for call in (calls_of(name) if name.startswith("@") else {name})}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


@needs_systemd
def test_the_filter_permits_questions_about_the_clock_and_no_administration() -> None:
    allowed = permitted()
    assert {"adjtimex", "clock_adjtime"} <= allowed
    assert "ProtectClock" not in settings(), "which would refuse them"
    assert not {"clock_settime", "settimeofday", "mount", "reboot", "ptrace", "init_module", "setuid"} & allowed
    assert settings()["CapabilityBoundingSet"] == [""]


@needs_systemd
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_filter_permits_each_call_that_a_broker_makes(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with RunningBroker(tmp_path / "data") as broker:
        command = ["strace", "-f", "-qq", "-p", str(broker.process.pid), "-o", str(calls)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        with QueueClient(broker.url) as client:
            while not calls.exists() or not calls.stat().st_size:
                assert tracer.poll() is None, tracer.communicate()
                client.produce_batch(["a" * 1000] * 10)
                client.consume()
        assert broker.terminate() == 0
        tracer.communicate(timeout=PATIENCE_S)
    made = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    assert {"pwrite64", "fdatasync"} & made
    assert made <= permitted()


# The image


def instructions() -> dict[str, list[str]]:
    """Return the instructions of the last stage of the Dockerfile, by name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in stages()[-1]:
        found[name].append(value)
    return found


def test_the_image_runs_a_broker_with_valid_settings() -> None:
    environment = dict(each.split("=", 1) for each in shlex.split(instructions()["ENV"][0]))
    loaded = load({}, environment)
    assert str(loaded.data) == instructions()["VOLUME"][0]
    assert str(loaded.listen[1]) == instructions()["EXPOSE"][0]
    command = [*json.loads(instructions()["ENTRYPOINT"][0])[1:], *json.loads(instructions()["CMD"][0])]
    assert build_parser().parse_args(command).run.__module__ == "wonderq.cli.serve"
    assert instructions()["STOPSIGNAL"] == ["SIGTERM"]


def test_the_image_has_a_user_without_privileges_who_owns_a_private_folder() -> None:
    [create] = instructions()["RUN"]
    [user] = instructions()["USER"]
    assert f"--uid {user} " in create
    assert int(user) > 0
    assert "--mode 0700 /data" in create


def test_the_health_check_of_the_image_succeeds_with_a_broker(tmp_path: Path) -> None:
    [check] = instructions()["HEALTHCHECK"]
    _, *arguments = json.loads(check[check.index("[") :])
    with RunningBroker(tmp_path / "data") as broker:
        here = [each.replace("127.0.0.1:7979", f"127.0.0.1:{broker.port}") for each in arguments]
        assert subprocess.run(["python3", *here], check=False, timeout=PATIENCE_S).returncode == 0
    assert subprocess.run(["python3", *here], check=False, capture_output=True, timeout=PATIENCE_S).returncode != 0
