"""All planted bugs."""

from __future__ import annotations

from tests.mutants import (
    in_access,
    in_broker,
    in_checker,
    in_client,
    in_dashboard,
    in_disk,
    in_documentation,
    in_fibers,
    in_file_log,
    in_filters,
    in_finishing,
    in_housekeeping,
    in_installation,
    in_jetstream,
    in_kills,
    in_limits,
    in_maintenance,
    in_ownership,
    in_recovery,
    in_seam,
    in_semantics,
    in_siblings,
    in_sns,
    in_state,
    in_topics,
    in_verification,
    in_worker,
)

MUTANTS = [
    mutant
    for module in (
        in_file_log,
        in_disk,
        in_jetstream,
        in_verification,
        in_recovery,
        in_broker,
        in_seam,
        in_fibers,
        in_state,
        in_maintenance,
        in_ownership,
        in_housekeeping,
        in_installation,
        in_access,
        in_documentation,
        in_limits,
        in_semantics,
        in_finishing,
        in_siblings,
        in_worker,
        in_kills,
        in_client,
        in_checker,
        in_dashboard,
        in_filters,
        in_sns,
        in_topics,
    )
    for mutant in module.MUTANTS
]
