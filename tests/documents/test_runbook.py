"""The page for failures of a cluster has a section for each failure that docs/CLUSTER.md lists, and all sections say the same things."""

from __future__ import annotations

import re

from tests.support.alerting import alerts
from tests.support.document_blocks import ROOT

RUNBOOK = (ROOT / "docs" / "how-to" / "cluster-runbook.md").read_text(encoding="utf-8")
CLUSTER = (ROOT / "docs" / "CLUSTER.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """Return the text of each section by its title."""
    return dict(re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", RUNBOOK, re.MULTILINE))


def test_each_failure_has_a_section() -> None:
    listed = CLUSTER.partition("\n## Failures\n")[2].partition("\nMeasured")[0]
    failures = [row.removeprefix("| ").partition(" |")[0] for row in listed.splitlines() if row.startswith("| ")][1:]
    assert len(failures) > 7
    titles = [title.lower() for title in sections()]
    assert [each for each in failures if each.lower() not in titles] == []


def test_each_section_says_what_to_look_at_what_to_do_and_what_is_lost() -> None:
    for title, text in sections().items():
        if title != "After it":
            names = re.findall(r"^\| (you see|look at|do|lost) \| \S", text, re.MULTILINE)
            assert names == ["you see", "look at", "do", "lost"], title


def test_each_alert_of_a_cluster_leads_to_a_section() -> None:
    of_clusters = [each["alert"] for each in alerts() if "wonderq_shard_" in each["expr"] or "cluster" in each["expr"]]
    assert len(of_clusters) >= 5
    # A shard without an owner is the sign of several failures, which the first table tells apart.
    assert [each for each in of_clusters if each not in RUNBOOK and each != "WonderQShardWithoutOwner"] == []
