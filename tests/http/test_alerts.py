"""docs/alerts.yml and docs/grafana-dashboard.json: that they ask for what there is, and that each alert goes off."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.alerting import (
    ALERTS,
    alerts,
    documented_cluster_metrics,
    documented_metrics,
    documented_request_metrics,
    of_dashboard,
)
from tests.support.broker_process import RunningBroker
from tests.support.http_client import Wire
from tests.support.played_node import metrics_of_a_cluster_node
from tests.support.scripted_peers import metrics_of_a_node
from tests.support.waiting import PATIENCE_S
from wonderq.model.status import STATUS_BY_NAME

#: Series and labels that Prometheus adds.
OF_PROMETHEUS = {"up": {"job", "instance"}}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each time series of a broker in which something happened."""
    with RunningBroker(tmp_path_factory.mktemp("watched") / "data") as broker:
        wire = Wire(broker.host, broker.port)
        wire("GET", "/nowhere")
        wire("PUT", "/topics/watched")
        wire("POST", "/topics/watched/publish", json={"message": "x"})
        wire("GET", "/metrics")
        text = wire("GET", "/metrics").content.decode()
    found: dict[str, set[str]] = {"wonderq_checkpoint_timestamp_seconds": set()}  # there is none yet
    text += metrics_of_a_node() + metrics_of_a_cluster_node()
    for name, inside in re.findall(r"^(\w+)(?:{(.*)})? \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", inside))
    crossing = {
        name: of for name, of in documented_request_metrics().items() if "crossing" in name
    }  # it takes two shards
    return found | crossing | OF_PROMETHEUS


def check(query: str, labels: dict[str, set[str]]) -> None:
    selectors = re.findall(r"\b((?:wonderq|process)_\w+|up)\b(?:{([^}]*)})?", query)
    assert selectors, query
    used: set[str] = set()
    for name, inside in selectors:
        assert name in labels, f"{name} in {query}"
        used |= labels[name]
        for label, _, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            assert label in labels[name] | {"job", "instance"}, f"{label} of {name} in {query}"
            assert label != "status" or "queue" not in labels[name] or value in STATUS_BY_NAME, value
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(re.split(r",\s*", group)) <= used | {"instance", "job"}, query


def test_the_dashboard_asks_for_what_there_is(labels: dict[str, set[str]]) -> None:
    queries = list(of_dashboard())
    assert len(queries) > 40
    for query in queries:
        check(query, labels)


def test_what_is_not_there_would_be_noticed(labels: dict[str, set[str]]) -> None:
    for query in ("wonderq_nothing", 'wonderq_ready{queue="x"}', "sum by (queue) (wonderq_ready)"):
        with pytest.raises(AssertionError):
            check(query, labels)


def test_each_alert_asks_for_what_there_is_and_says_what_to_do(labels: dict[str, set[str]]) -> None:
    for alert in alerts():
        check(alert["expr"], labels)
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["runbook"].strip().endswith(".")
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])):
            assert label in {"instance", "job"}.union(
                *(labels[name] for name in re.findall(r"\bwonderq_\w+", alert["expr"]))
            )


def test_metrics_that_the_documentation_does_not_have_are_not_used() -> None:
    of_broker, of_node = documented_metrics()
    of_cluster = documented_cluster_metrics().keys() | documented_request_metrics().keys()
    known = of_broker.keys() | of_node.keys() | of_cluster | {"up"}
    text = " ".join([*of_dashboard(), *(alert["expr"] for alert in alerts())])
    used = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:wonderq|process)_\w+", text)}
    assert used <= known
    # And most of what there is can be seen.
    assert {name for name in of_broker if name.startswith("wonderq")} <= used
    of_dashboard_alone = " ".join(of_dashboard())
    assert [name for name in {*of_node, *of_cluster} if not re.search(rf"\b{name}\b", of_dashboard_alone)] == []


# Tests with promtool


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@needs_promtool
def test_promtool_takes_the_rules_and_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(ALERTS))
    queries = [query for query in of_dashboard() if not query.startswith("label_values")]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


@pytest.mark.slow
@needs_promtool
def test_promtool_finds_no_fault_in_what_is_shown(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker:
        wire = Wire(broker.host, broker.port)
        wire("GET", "/nowhere")
        wire("PUT", "/topics/watched")
        wire("POST", "/topics/watched/publish", json={"message": "x"})
        text = wire("GET", "/metrics").content
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


#: For each alert series that set it off, in steps of a minute, and series of the same names that do not.
SERIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "WonderQDown": ({'up{job="wonderq"}': "0x200"}, {'up{job="wonderq"}': "1x200", 'up{job="other"}': "0x200"}),
    "WonderQUnready": ({"wonderq_ready": "0x200"}, {"wonderq_ready": "1x200"}),
    "WonderQDamaged": ({"wonderq_damaged": "1x200"}, {"wonderq_damaged": "0x200"}),
    "WonderQDiskNearlyFull": (
        {"wonderq_disk_free_bytes": "1000000000x200"},
        {"wonderq_disk_free_bytes": "2000000000x200"},
    ),
    "WonderQDiskFull": (
        {'wonderq_refusals_total{code="disk_full"}': "0+1x200"},
        {
            'wonderq_refusals_total{code="disk_full"}': "5x200",
            'wonderq_refusals_total{code="path_not_found"}': "0+1x200",
        },
    ),
    "WonderQOldMessages": (
        {'wonderq_queue_oldest_waiting_seconds{queue="q"}': "4000x200"},
        {
            'wonderq_queue_oldest_waiting_seconds{queue="q"}': "3000x200",
            'wonderq_queue_oldest_age_seconds{queue="q"}': "4000x200",
        },
    ),
    "WonderQDeadLetters": (
        {'wonderq_dead_letters_total{queue="q"}': "0+1x200"},
        {'wonderq_dead_letters_total{queue="q"}': "7x200"},
    ),
    "WonderQSchedulesMissed": (
        {"wonderq_schedules_missed_total": "0x150 1x50"},
        {"wonderq_schedules_missed_total": "3x200"},
    ),
    "WonderQEndpointsFail": (
        {"wonderq_push_endpoints_failing": "2x200"},
        {"wonderq_push_endpoints_failing": "1x10 0x190"},
    ),
    "WonderQConnectionsNearLimit": (
        {"wonderq_connections": "1700x200", "wonderq_connections_limit": "2000x200"},
        {"wonderq_connections": "1500x200", "wonderq_connections_limit": "2000x200"},
    ),
    "WonderQWaitingConsumersNearLimit": (
        {"wonderq_waiting_consumers": "450x200", "wonderq_waiting_consumers_limit": "500x200"},
        {"wonderq_waiting_consumers": "300x200", "wonderq_waiting_consumers_limit": "500x200"},
    ),
    "WonderQClockHeld": ({"wonderq_clock_held": "1x200"}, {"wonderq_clock_held": "0x200"}),
    "WonderQClockDiffers": (
        {"wonderq_clock_ahead_seconds": "-86400x200", "wonderq_clock_held": "0x200"},
        {"wonderq_clock_ahead_seconds": "-0.5x200", "wonderq_clock_held": "0x200"},
    ),
    "WonderQSlowSync": (
        {
            'wonderq_log_sync_duration_seconds_bucket{le="0.1"}': "0+90x200",
            'wonderq_log_sync_duration_seconds_bucket{le="0.25"}': "0+100x200",
            'wonderq_log_sync_duration_seconds_bucket{le="+Inf"}': "0+100x200",
        },
        {
            'wonderq_log_sync_duration_seconds_bucket{le="0.1"}': "0+9990x200",
            'wonderq_log_sync_duration_seconds_bucket{le="0.25"}': "0+9999x200",
            'wonderq_log_sync_duration_seconds_bucket{le="+Inf"}': "0+10000x200",
        },
    ),
    "WonderQManyRefusals": (
        {'wonderq_refusals_total{code="stale_receipt"}': "0+120x200"},
        {'wonderq_refusals_total{code="stale_receipt"}': "0+10x200"},
    ),
    "WonderQInFlightGrows": (
        {'wonderq_queue_messages{queue="q",status="processing"}': "2000+10x200"},
        {
            'wonderq_queue_messages{queue="q",status="processing"}': "9000-10x200",
            'wonderq_queue_messages{queue="q",status="unprocessed"}': "2000+10x200",
        },
    ),
    "WonderQHousekeeperEnded": (
        {"wonderq_housekeeper_up": "0x200", "wonderq_ready": "1x200"},
        {"wonderq_housekeeper_up": "1x200", "wonderq_ready": "1x200"},
    ),
    "WonderQNoOwner": (
        {f'wonderq_role{{role="owner",job="w",instance="{each}"}}': "0x200" for each in "ab"},
        {
            'wonderq_role{role="owner",job="w",instance="a"}': "0x200",
            'wonderq_role{role="owner",job="w",instance="b"}': "1x200",
        },
    ),
    "WonderQLogDamaged": ({'wonderq_role{role="damaged"}': "1x200"}, {'wonderq_role{role="owner"}': "1x200"}),
    "WonderQReplicaMissing": (
        {"wonderq_log_replicas": "3x200", "wonderq_log_replicas_current": "2x200"},
        {"wonderq_log_replicas": "3x200", "wonderq_log_replicas_current": "3x200"},
    ),
    "WonderQNobodyStandsBy": (
        {'wonderq_role{role="standing_by",job="w",instance="a"}': "0x200"},
        {f'wonderq_role{{role="standing_by",job="w",instance="{each}"}}': "0x200" for each in "ab"},
    ),
    "WonderQTakesOverOften": (
        {"wonderq_log_takeovers_total": "0+1x200"},
        {"wonderq_log_takeovers_total": "0x170 1x30"},
    ),
    "WonderQClocksDiffer": (
        {"wonderq_clock_ahead_of_others_seconds": "-0.2x200"},
        {"wonderq_clock_ahead_of_others_seconds": "0.05x200"},
    ),
    "WonderQCutOffFromNats": ({"wonderq_nats_up": "0x200"}, {"wonderq_nats_up": "1x200"}),
    "WonderQOutdated": ({'wonderq_role{role="outdated"}': "1x200"}, {'wonderq_role{role="outdated"}': "0x200"}),
    "WonderQTopicRefusals": (
        {'wonderq_topic_messages_total{operation="skip",topic="t"}': "0+1x200"},
        {
            'wonderq_topic_messages_total{operation="skip",topic="t"}': "7x200",
            'wonderq_topic_messages_total{operation="deliver",topic="t"}': "0+1x200",
        },
    ),
    "WonderQShardWithoutOwner": (
        {f'wonderq_shard_available{{shard="3",job="w",node="{each}"}}': "0x200" for each in "ab"},
        {
            'wonderq_shard_available{shard="3",job="w",node="a"}': "0x200",  # it does not hear the others
            'wonderq_shard_available{shard="3",job="w",node="b"}': "1x200",
        },
    ),
    "WonderQShardDamaged": (
        {
            'wonderq_shard_damaged{shard="3",job="w",node="a"}': "1x200",
            'wonderq_shard_damaged{shard="3",job="w",node="b"}': "0x200",
        },
        {'wonderq_shard_damaged{shard="3",job="w",node="a"}': "0x200"},
    ),
    "WonderQMessagesDoNotCross": (
        {'wonderq_crossing_oldest_age_seconds{shard="3",job="w",queue="mail"}': "0+60x200"},
        {'wonderq_crossing_oldest_age_seconds{shard="3",job="w",queue="mail"}': "5x200"},
    ),
    "WonderQShardReplicaMissing": (
        {
            'wonderq_shard_replicas{shard="3",node="a"}': "3x200",
            'wonderq_shard_replicas_current{shard="3",node="a"}': "2x200",
        },
        {
            'wonderq_shard_replicas{shard="3",node="a"}': "3x200",
            'wonderq_shard_replicas_current{shard="3",node="a"}': "3x200",
        },
    ),
    "WonderQShardMovesOften": (
        {f'wonderq_shard_takeovers_total{{shard="3",job="w",node="{each}"}}': "0+1x200" for each in "ab"},
        {
            # A node died and came back, so each of its shards has moved twice.
            **{f'wonderq_shard_takeovers_total{{shard="{each}",job="w",node="a"}}': "0x176 1x24" for each in range(6)},
            **{f'wonderq_shard_takeovers_total{{shard="{each}",job="w",node="b"}}': "0x178 1x22" for each in range(6)},
        },
    ),
    "WonderQNoQuorum": ({'wonderq_cluster_quorum{node="a"}': "0x200"}, {'wonderq_cluster_quorum{node="a"}': "1x200"}),
    "WonderQNoCheckpoint": (
        {"wonderq_checkpoint_lag_bytes": "0+10000000x200", "wonderq_checkpoint_bytes": "1000x200"},
        {"wonderq_checkpoint_lag_bytes": "500000000x200", "wonderq_checkpoint_bytes": "60000000x200"},
    ),
}


@pytest.mark.slow
@needs_promtool
def test_each_alert_goes_off_when_it_has_to_and_not_otherwise(tmp_path: Path) -> None:
    rules = alerts()
    assert {alert["alert"] for alert in rules} == SERIES.keys()
    tests = []
    for alert in rules:
        name = alert["alert"]
        for going_off, series in zip((True, False), SERIES[name], strict=True):
            values = [{"series": each, "values": value} for each, value in series.items()]
            # A query compares the result, because the labels of the alert itself do not matter here.
            expected = [{"labels": "{}", "value": 1}] if going_off else []
            expression = f'count(count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}}))'
            query = {"expr": expression, "eval_time": "180m", "exp_samples": expected}
            tests.append(
                {"interval": "1m", "input_series": values, "promql_expr_test": [query], "name": f"{name} {going_off}"}
            )
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))
