"""All checks of a step, in order."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.bandwidth import checks as bandwidth_checks
from jaxsif.core.evidence import Check, Finding, StepEvidence
from jaxsif.hang import checks as hang_checks
from jaxsif.pairs import checks as pairs_checks
from jaxsif.transport import checks as transport_checks
from jaxsif.verdict import correctness, devices, exits, processes

# Causes first: the reader has seen the findings of the checks above.
CHECKS: tuple[Check, ...] = (
    processes.ranks_silent,
    exits.nodes_failed,
    exits.starts_failed,
    processes.independent_processes,
    processes.duplicate_ranks,
    processes.unexpected_process_count,
    devices.platform_differs,
    devices.shared_devices,
    devices.local_devices_differ,
    exits.ranks_left,
    hang_checks.group_hangs,
    exits.programs_failed,
    exits.cancelled,
    exits.terminated,
    exits.desynchronized_ranks,
    exits.log_causes,
    exits.ranks_ended,
    correctness.foreign_peers,
    correctness.wrong_sums,
    pairs_checks.corrupt_exchanges,
    pairs_checks.pair_timeouts,
    bandwidth_checks.wrong_elements,
    exits.log_symptoms,
    exits.ranks_terminated_by_launcher,
    processes.ranks_missing,
    processes.launcher_hangs,
    exits.deadlines_exceeded,
    processes.unexpected_nodes,
    processes.unexpected_group_size,
    devices.unexpected_device_total,
    devices.versions_differ,
    exits.secondary_errors,
    processes.ranks_unfinished,
    transport_checks.network_not_used,
    transport_checks.network_differs,
    correctness.peers_not_verified,
    correctness.records_lost,
    devices.devices_not_reported,
    transport_checks.nvlink_missing,
    transport_checks.gpudirect_missing,
    transport_checks.transports_differ,
    transport_checks.network_not_exercised,
    transport_checks.transport_unknown,
    pairs_checks.pairs_slow,
    bandwidth_checks.bandwidth_low,
    bandwidth_checks.stragglers,
    bandwidth_checks.baseline_no_match,
)


# For programs without the kit, whose ranks report nothing.
_EXIT_CHECKS: tuple[Check, ...] = (
    hang_checks.group_hangs,
    exits.programs_failed,
    exits.cancelled,
    exits.log_causes,
    exits.ranks_ended,
    exits.log_symptoms,
    exits.ranks_terminated_by_launcher,
    exits.secondary_errors,
)


def find(case: StepEvidence) -> list[Finding]:
    """All findings, causes before their consequences."""
    checks = _EXIT_CHECKS if case.is_without_kit else CHECKS
    return [finding for check in checks for finding in check(case)]
