"""Every way in which what the ranks saw can differ from what was asked; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.judge.case import Case, Check, Finding
from jaxsif.judge.checks import devices, numbers, processes

# Causes first: each check may assume that the reader has seen those before it.
CHECKS: tuple[Check, ...] = (
    processes.programs_failed,
    processes.ranks_ended,
    processes.ranks_alone,
    processes.ranks_twice,
    processes.processes_differ,
    processes.ranks_missing,
    processes.nodes_differ,
    processes.groups_differ,
    devices.platform_differs,
    devices.devices_shared,
    devices.local_devices_differ,
    devices.total_differs,
    devices.versions_differ,
    numbers.identity_foreign,
    numbers.sums_wrong,
    processes.ranks_unfinished,
    numbers.identity_unproven,
)


def find(case: Case) -> list[Finding]:
    """All findings, first causes before what follows from them."""
    return [finding for check in CHECKS for finding in check(case)]
