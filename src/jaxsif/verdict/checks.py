"""Every way in which what the ranks saw can differ from what was asked; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.bandwidth import checks as bandwidth_checks
from jaxsif.core.evidence import Case, Check, Finding
from jaxsif.pairs import checks as pairs_checks
from jaxsif.transport import checks as transport_checks
from jaxsif.verdict import correctness, devices, exits, processes

# Causes first: each check may assume that the reader has seen those before it.
CHECKS: tuple[Check, ...] = (
    processes.ranks_silent,
    exits.nodes_failed,
    exits.starts_failed,
    processes.ranks_alone,
    processes.ranks_twice,
    processes.processes_differ,
    devices.platform_differs,
    devices.devices_shared,
    devices.local_devices_differ,
    exits.ranks_left,
    exits.programs_failed,
    exits.cancelled,
    exits.terminated,
    exits.ranks_apart,
    exits.causes_recognised,
    exits.ranks_ended,
    correctness.identity_foreign,
    correctness.sums_wrong,
    pairs_checks.exchanges_wrong,
    pairs_checks.pairs_silent,
    bandwidth_checks.elements_wrong,
    exits.symptoms_recognised,
    exits.ranks_ended_for_others,
    processes.ranks_missing,
    processes.launcher_hangs,
    exits.ranks_stuck,
    processes.nodes_differ,
    processes.groups_differ,
    devices.total_differs,
    devices.versions_differ,
    exits.errors_after,
    processes.ranks_unfinished,
    transport_checks.network_not_used,
    transport_checks.network_differs,
    correctness.identity_unproven,
    correctness.records_lost,
    devices.devices_untold,
    transport_checks.nvlink_missing,
    transport_checks.gpudirect_missing,
    transport_checks.transports_differ,
    transport_checks.network_untested,
    transport_checks.transport_unknown,
    pairs_checks.pairs_slow,
    bandwidth_checks.bandwidth_low,
    bandwidth_checks.ranks_lag,
    bandwidth_checks.baseline_silent,
)


# What can be said of ranks that tell nothing while they are well.
_ENDINGS: tuple[Check, ...] = (
    exits.programs_failed,
    exits.cancelled,
    exits.causes_recognised,
    exits.ranks_ended,
    exits.symptoms_recognised,
    exits.ranks_ended_for_others,
    exits.errors_after,
)


def find(case: Case) -> list[Finding]:
    """All findings, first causes before what follows from them."""
    checks = _ENDINGS if case.is_without_kit else CHECKS
    return [finding for check in checks for finding in check(case)]
