"""The rules for alerts and the dashboard that docs/ offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "alerts.yml"


def alerts() -> list[dict[str, Any]]:
    """Return the rules for alerts."""
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def of_dashboard() -> Iterator[str]:
    """The queries of the dashboard, with its variables filled in."""
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    for query in found:
        yield query.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$queue", ".*")


def documented_metrics() -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Return type and labels of the metrics in docs/METRICS.md: those of a broker, and those of a shared log."""
    found: tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]] = ({}, {})
    for section in (DOCS / "METRICS.md").read_text().split("\n## "):
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\| \S", section, re.MULTILINE)
        found[section.startswith("Processes that share a log")].update(
            {name: (kind, labels) for name, kind, labels in rows}
        )
    return found


def documented_cluster_metrics() -> dict[str, tuple[str, list[str]]]:
    """Return type and labels of the metrics of a node of a cluster, which docs/CLUSTER.md has."""
    section = (DOCS / "CLUSTER.md").read_text().partition("\n## Health and metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(wonderq_\w+)` \| (\w+) \| ([^|]*)\| \S", section, re.MULTILINE)
    return {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def documented_request_metrics() -> dict[str, set[str]]:
    """Return the labels of the metrics in docs/CLUSTER_REQUESTS.md: of requests passed on, and of messages that cross."""
    rows = re.findall(r"^\| `(wonderq_\w+)(?:{(.*?)})?`", (DOCS / "CLUSTER_REQUESTS.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}
