"""`jax-sif doctor`: what is wrong with this node, before a job or beside Slurm; runs on any node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from jaxsif.core import strict_json
from jaxsif.core.slurm_env import NODE_NAME
from jaxsif.node import Surroundings, gpu_checks, host_checks, look_around, report
from jaxsif.node.checks import Check, Patient, examine
from jaxsif.node.report import Examination

# Slurm ends its HealthCheckProgram after 60 s, and asks all nodes at once.
QUICK_BUDGET_S = 28.0
FULL_BUDGET_S = 300.0


def doctor(*, is_quick: bool, is_strict: bool, is_json: bool) -> int:
    """Examines this node, says what it finds, and returns the exit status."""
    checks = [*host_checks.QUICK, *gpu_checks.QUICK]
    if not is_quick:
        checks += [*host_checks.SLOW, *gpu_checks.SLOW]
    budget_s = QUICK_BUDGET_S if is_quick else FULL_BUDGET_S
    surroundings = look_around(os.environ)
    begun = Examination(
        node=node_name(surroundings),
        image=image_name(surroundings),
        is_quick=is_quick,
        results=(),
        is_strict=is_strict,
    )
    ended = carry_out(begun, Patient(surroundings), checks, budget_s, not is_json)
    if is_json:
        print(strict_json.encode(report.as_facts(ended)), end="")
    return ended.status


def carry_out(
    begun: Examination,
    patient: Patient,
    checks: Sequence[Check],
    budget_s: float,
    is_shown: bool,
) -> Examination:
    """Runs the checks; shows each as it ends, since some take their time."""
    started_s = time.monotonic()
    width = max(len(check.name) for check in checks)
    results = []
    _show(is_shown, report.heading(begun))
    reading = None
    for result, known in examine(patient, checks, budget_s):
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


def node_name(surroundings: Surroundings) -> str:
    """As Slurm knows the node, as far as can be told from within."""
    known = surroundings.variable(NODE_NAME)
    return known or surroundings.host_name.partition(".")[0]


def image_name(surroundings: Surroundings) -> str:
    facts = surroundings.image_facts
    versions = facts.get("versions")
    if not isinstance(versions, dict) or "jax" not in versions:
        return "outside the image"
    return f"image {versions['jax']}-{facts.get('accel')}"
