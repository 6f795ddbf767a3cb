"""`jax-sif doctor`: check this node, before a job or independent of Slurm."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from jaxsif.core import strict_json
from jaxsif.core.slurm_env import NODE_NAME
from jaxsif.node import HostInfo, inspect_host
from jaxsif.node.doctor import checks as host_checks
from jaxsif.node.doctor import gpu_checks, report
from jaxsif.node.doctor.report import NodeReport
from jaxsif.node.doctor.run import Check, CheckContext, run_checks

# Slurm ends its HealthCheckProgram after 60 s, and runs it on all nodes at once.
QUICK_BUDGET_S = 28.0
FULL_BUDGET_S = 300.0


def doctor(*, is_quick: bool, is_strict: bool, is_json: bool) -> int:
    """Check this node, print the report, and return the exit status."""
    checks = [*host_checks.QUICK, *gpu_checks.QUICK]
    if not is_quick:
        checks += [*host_checks.SLOW, *gpu_checks.SLOW]
    budget_s = QUICK_BUDGET_S if is_quick else FULL_BUDGET_S
    host_info = inspect_host(os.environ)
    begun = NodeReport(
        node=node_name(host_info),
        image=image_name(host_info),
        is_quick=is_quick,
        results=(),
        is_strict=is_strict,
    )
    ended = carry_out(begun, CheckContext(host_info), checks, budget_s, not is_json)
    if is_json:
        print(strict_json.encode(report.as_facts(ended)), end="")
    return ended.status


def carry_out(
    begun: NodeReport,
    context: CheckContext,
    checks: Sequence[Check],
    budget_s: float,
    is_shown: bool,
) -> NodeReport:
    """Run the checks; show each as it ends, since some are slow."""
    started_s = time.monotonic()
    width = max(len(check.name) for check in checks)
    results = []
    _show(is_shown, report.heading(begun))
    reading = None
    for result, known in run_checks(context, checks, budget_s):
        results.append(result)
        reading = known.reading
        _show(is_shown, report.row(result, width))
    ended = replace(
        begun,
        results=tuple(results),
        reading=reading,
        elapsed_s=time.monotonic() - started_s,
    )
    _show(is_shown, report.closing(ended))
    return ended


def _show(is_shown: bool, text: str) -> None:
    if is_shown:
        sys.stdout.write(text)
        sys.stdout.flush()


def node_name(host_info: HostInfo) -> str:
    """The node's name in Slurm, if known, otherwise its host name."""
    known = host_info.variable(NODE_NAME)
    return known or host_info.host_name.partition(".")[0]


def image_name(host_info: HostInfo) -> str:
    facts = host_info.image_facts
    versions = facts.get("versions")
    if not isinstance(versions, dict) or "jax" not in versions:
        return "outside the image"
    return f"image {versions['jax']}-{facts.get('accel')}"
