"""`jax-sif doctor`: check this node, before a job or independent of Slurm."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxsif.core.slurm_env import NODE_NAME

if TYPE_CHECKING:
    from jaxsif.node import HostInfo
    from jaxsif.node.doctor.run import Check, NodeReport

# Slurm ends its HealthCheckProgram after 60 s, and runs it on all nodes at once.
QUICK_BUDGET_S = 28.0
FULL_BUDGET_S = 300.0


def main(arguments: Sequence[str]) -> int:
    """Parse the options and check the node."""
    parser = argparse.ArgumentParser(
        prog="jax-sif doctor",
        description="Checks this node, inside or outside a job. The last line says"
        " whether and why to drain it.",
        epilog="Exit status: 0 healthy, 1 not healthy, 2 usage error, 3 unknown.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="skip slow checks (importing JAX, computing on a GPU, writing files)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="warnings count as failures"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: text"
    )
    chosen = parser.parse_args(arguments)
    return doctor(
        is_quick=chosen.quick,
        is_strict=chosen.strict,
        is_json=chosen.format == "json",
    )


def doctor(*, is_quick: bool, is_strict: bool, is_json: bool) -> int:
    """Check this node, print the report, and return the exit status."""
    from jaxsif.core import strict_json
    from jaxsif.node import inspect_host
    from jaxsif.node.doctor import checks as host_checks
    from jaxsif.node.doctor import gpu_checks
    from jaxsif.node.doctor.run import NodeReport, as_json

    checks = [*host_checks.QUICK, *gpu_checks.QUICK]
    if not is_quick:
        checks += [*host_checks.SLOW, *gpu_checks.SLOW]
    budget_s = QUICK_BUDGET_S if is_quick else FULL_BUDGET_S
    host_info = inspect_host(os.environ)
    empty = NodeReport(
        node=node_name(host_info),
        image=image_name(host_info),
        is_quick=is_quick,
        is_strict=is_strict,
    )
    node_report = run(empty, host_info, checks, budget_s, not is_json)
    if is_json:
        print(strict_json.encode(as_json(node_report)), end="")
    return node_report.status


def run(
    empty: NodeReport,
    host_info: HostInfo,
    checks: Sequence[Check],
    budget_s: float,
    is_shown: bool,
) -> NodeReport:
    """Run the checks; show each as it ends, since some are slow."""
    from jaxsif.node.doctor.run import footer, format_row, header, run_checks

    start_s = time.monotonic()
    width = max(len(check.name) for check in checks)
    results = []
    _show(is_shown, header(empty))
    for result in run_checks(host_info, checks, budget_s):
        results.append(result)
        _show(is_shown, format_row(result, width))
    elapsed_s = time.monotonic() - start_s
    node_report = replace(empty, results=tuple(results), elapsed_s=elapsed_s)
    _show(is_shown, footer(node_report))
    return node_report


def _show(is_shown: bool, text: str) -> None:
    if is_shown:
        sys.stdout.write(text)
        sys.stdout.flush()


def node_name(host_info: HostInfo) -> str:
    """The node's name in Slurm, if known, otherwise its host name."""
    known = host_info.variable(NODE_NAME)
    return known or host_info.host_name.partition(".")[0]


def image_name(host_info: HostInfo) -> str:
    """The image's name as the report shows it."""
    facts = host_info.image_facts
    versions = facts.get("versions")
    if not isinstance(versions, dict) or "jax" not in versions:
        return "outside the image"
    return f"image {versions['jax']}-{facts.get('accel')}"
