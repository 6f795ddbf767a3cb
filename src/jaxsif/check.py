"""`jax-sif check`: ends a job in its first second when it cannot work; runs in the job's script, before the ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxsif.contract.errors import FAIL, PASS, UsageError
from jaxsif.contract.identity import JOB_ID
from jaxsif.contract.topology import TOPOLOGY_VARIABLE, parse_topology
from jaxsif.contract.trouble import Trouble
from jaxsif.job.allocation import differences
from jaxsif.judge import report
from jaxsif.judge.case import Finding
from jaxsif.judge.verdict import Verdict


def check(program: str | None, environment: Mapping[str, str] = os.environ) -> int:
    """Says what is wrong in the shape of a verdict, and nothing when all is well.

    That the image can be read and a runtime is there is proven by getting here.
    """
    if JOB_ID not in environment:
        raise UsageError(
            "jax-sif check compares a job's allocation with what was asked for, and this"
            " is no job; it belongs into a job script (jax-sif job prints one)"
        )
    label = environment.get(TOPOLOGY_VARIABLE)
    if not label:
        raise UsageError(
            f"{TOPOLOGY_VARIABLE} is not set; say what the job asks for, as in: export"
            f" {TOPOLOGY_VARIABLE}=G8N2p4"
        )
    topology = parse_topology(label)
    troubles = [*differences(environment, topology), *_unseen(program)]
    if not troubles:
        return PASS
    findings = tuple(Finding(t.kind, t.text, t.remedy) for t in troubles)
    sys.stdout.write(report.text(Verdict("", topology, {}, findings, FAIL)))
    return FAIL


def _unseen(program: str | None) -> Iterator[Trouble]:
    if program is not None and not Path(program).is_file():
        yield Trouble(
            "program-missing",
            f"there is no {program!r} as the container sees {os.getcwd()!r}",
            "submit from the folder of the program, or let the container see its folder"
            " (binds of the site, APPTAINER_BIND)",
        )
