"""Every way in which what the ranks saw can differ from what was asked; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.judge.case import Case, Check, Finding
from jaxsif.judge.checks import (
    devices,
    endings,
    links,
    numbers,
    processes,
    speed,
    transport,
)

# Causes first: each check may assume that the reader has seen those before it.
CHECKS: tuple[Check, ...] = (
    processes.ranks_silent,
    endings.nodes_failed,
    endings.starts_failed,
    processes.ranks_alone,
    processes.ranks_twice,
    processes.processes_differ,
    devices.platform_differs,
    devices.devices_shared,
    devices.local_devices_differ,
    endings.ranks_left,
    endings.programs_failed,
    endings.cancelled,
    endings.terminated,
    endings.ranks_apart,
    endings.causes_recognised,
    endings.ranks_ended,
    numbers.identity_foreign,
    numbers.sums_wrong,
    links.exchanges_wrong,
    links.pairs_silent,
    speed.elements_wrong,
    endings.symptoms_recognised,
    endings.ranks_ended_for_others,
    processes.ranks_missing,
    processes.launcher_hangs,
    endings.ranks_stuck,
    processes.nodes_differ,
    processes.groups_differ,
    devices.total_differs,
    devices.versions_differ,
    endings.errors_after,
    processes.ranks_unfinished,
    transport.network_not_used,
    transport.network_differs,
    numbers.identity_unproven,
    numbers.records_lost,
    devices.devices_untold,
    transport.nvlink_missing,
    transport.gpudirect_missing,
    transport.transports_differ,
    transport.network_untested,
    transport.transport_unknown,
    links.pairs_slow,
    speed.bandwidth_low,
    speed.ranks_lag,
    speed.baseline_silent,
)


# What can be said of ranks that tell nothing while they are well.
_ENDINGS: tuple[Check, ...] = (
    endings.programs_failed,
    endings.cancelled,
    endings.causes_recognised,
    endings.ranks_ended,
    endings.symptoms_recognised,
    endings.ranks_ended_for_others,
    endings.errors_after,
)


def find(case: Case) -> list[Finding]:
    """All findings, first causes before what follows from them."""
    checks = _ENDINGS if case.is_without_kit else CHECKS
    return [finding for check in checks for finding in check(case)]
