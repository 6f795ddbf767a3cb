"""Runs one fault of the matrix on the mini cluster and takes the time; for the tests and for docs/faults.md."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "faults"
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
from cluster import Cluster, Job  # noqa: E402  (needs the path above)
from fault import CLOCK_VARIABLE, Fault  # noqa: E402  (needs the path above)

_HELPERS = {"fault", "in_place", "alone"}
FAULTS = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in _HELPERS)


@dataclass(frozen=True)
class Outcome:
    """How a fault's job ended, and how long after the fault its last word stood there."""

    name: str
    fault: Fault
    job: Job
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        """Whether status, cause and time are those of the matrix."""
        is_named = not self.fault.differences(self.job)
        return is_named and self.seconds <= self.fault.within_s


def load(name: str):
    """The module of a fault."""
    return importlib.import_module(name)


def title(name: str) -> str:
    """What the fault is, in a sentence."""
    return load(name).__doc__


def run(cluster: Cluster, name: str) -> Outcome:
    """Submits the fault's job, unmodified, with the fault around and inside it."""
    fault: Fault = load(name).FAULT
    return _run(
        cluster,
        name,
        lambda c, more: c.submit(
            fault.job, *fault.options, program="in_place.py", folder=FOLDER, **more
        ),
    )


def run_alone(cluster: Cluster, name: str, minutes: int) -> Outcome:
    """The same fault done to JAX without the kit, ended by Slurm after some minutes."""
    fault: Fault = load(name).FAULT
    return _run(
        cluster,
        name,
        lambda c, more: c.submit(
            FOLDER.parent / "alone.slurm",
            *fault.options,
            f"--time={minutes}",
            limit_s=60 * minutes + 120,
            FAULTS=str(FOLDER),
            **more
            | _joined(more, "PYTHONPATH", ":", str(FOLDER))
            | _joined(more, "APPTAINER_BIND", ",", str(c.checkout)),
        ),
    )


def _joined(variables: dict, name: str, separator: str, own: str) -> dict[str, str]:
    return {name: separator.join(filter(None, (variables.get(name), own)))}


def _run(cluster: Cluster, name: str, submit: Callable[..., Job]) -> Outcome:
    module = load(name)
    clock = f"/home/hpc/clock-{uuid.uuid4().hex[:8]}"
    cluster = dataclasses.replace(cluster, clock=clock)
    cluster.run("touch", clock)
    around = getattr(module, "around", lambda cluster: contextlib.nullcontext({}))
    with around(cluster) as more:
        variables = {CLOCK_VARIABLE: clock, "FAULT": name}
        job = submit(cluster, {**variables, **module.FAULT.environment, **more})
    marks = cluster.run("sh", "-c", f"cat {clock}; rm {clock}").stdout
    seconds = job.spoken_at - _moment(marks, job.started_at)
    return Outcome(name, module.FAULT, job, seconds)


def _moment(marks: str, job_start: float) -> float:
    """When the fault was there and all ranks with it, in seconds of the epoch."""
    times = {"start": job_start}
    for line in marks.splitlines():
        time, what = line.split()
        times[what] = max(float(time), times.get(what, 0.0))
    return times.get("fault", times["start"])
