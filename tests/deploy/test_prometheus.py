"""A real Prometheus, where installed: it scrapes a broker, loads the alerts, and answers every query of the dashboard."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.support.alerting import ALERTS, alerts, of_dashboard
from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys
from wonderq_storage.nats.local_servers import free_ports

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/{path}?{urlencode(query)}", timeout=PATIENCE_S) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> dict[str, float]:
        """Return the values that a query has, by queue and whatever else tells them apart."""
        found = self.ask("query", query=query)["result"]
        return {
            "/".join(each["metric"].get(name, "") for name in ("queue", "status")): float(each["value"][1])
            for each in found
        }


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    key_file, port = tmp_path / "keys.json", free_ports(1)[0]
    _, key = keys.create(key_file, name="prometheus", roles=["metrics"], queues=["*"])
    _, producer = keys.create(key_file, name="producer", roles=["produce"], queues=["*"])
    with RunningBroker(tmp_path / "data", "--keys", str(key_file)) as broker:
        with QueueClient(broker.url, queue="jobs", key=producer) as client:
            client.produce_batch(["a", "b", "c"])
        (tmp_path / "key").write_text(key)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [
                {
                    "job_name": "wonderq",
                    "authorization": {"credentials_file": str(tmp_path / "key")},
                    "static_configs": [{"targets": [f"{broker.host}:{broker.port}"]}],
                }
            ],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_it_scrapes_loads_the_alerts_and_answers_the_dashboard(prometheus: Prometheus, tmp_path: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    waiting: dict[str, float] = {}
    while waiting.get("jobs/unprocessed") != 3:
        assert time.monotonic() < end, (tmp_path / "prometheus.log").read_text()
        with suppress(urllib.error.URLError):  # it is starting
            waiting = prometheus.values("wonderq_queue_messages")
        time.sleep(0.2)
    [target] = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    [group] = prometheus.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in alerts()]
    while any(rule["health"] == "unknown" for rule in group["rules"]):
        assert time.monotonic() < end
        time.sleep(0.2)
        [group] = prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    for query in of_dashboard():
        if not query.startswith("label_values("):  # which is Grafana's own
            prometheus.ask("query", query=query)
