"""The metrics of a process that shares a log are those that the documentation has."""

from __future__ import annotations

import re

from tests.support.alerting import documented_metrics
from tests.support.scripted_peers import ScriptedPeers, metrics_of_a_node
from wonderq.ownership.metrics import ROLES, NodeCollector
from wonderq.ownership.node import Node


def test_the_documentation_has_each_metric_and_no_other() -> None:
    _, documented = documented_metrics()
    text = metrics_of_a_node()
    assert dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)) == {
        name: kind for name, (kind, _) in documented.items()
    }
    for name, (_, labels) in documented.items():
        samples = re.findall(rf"^{name}(?:{{(.*)}})? \S+$", text, re.MULTILINE)
        assert samples, name
        for sample in samples:
            assert re.findall(r"(\w+)=", sample) == re.findall(r"`(\w+)`", labels), name


def test_what_is_not_known_has_no_sample() -> None:
    node = Node("me:1", ScriptedPeers(), lambda _: None)  # type: ignore[arg-type,return-value]
    samples = {
        sample.name: sample.value
        for metric in NodeCollector(node).collect()
        for sample in metric.samples
        if not sample.labels
    }
    assert samples == {
        "wonderq_nats_up": 1,
        "wonderq_log_takeovers_total": 0,
        "wonderq_log_fenced_total": 0,
        "wonderq_log_append_retries_total": 0,
    }


def test_a_process_has_one_role() -> None:
    text = metrics_of_a_node()
    found = {role: float(value) for role, value in re.findall(r'wonderq_role{role="(\w+)"} (\S+)', text)}
    assert found == {role: float(role == "owner") for role in ROLES}
