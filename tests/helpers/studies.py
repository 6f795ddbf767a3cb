"""Studies with runs of given speeds; used by the tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from sample_records import VERSIONS, healthy, make_record, records

from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.scaling import results
from jaxsif.scaling.plan import Study
from jaxsif.verdict import render
from jaxsif.verdict.verdict import judge


def verdict(label: str, **speed) -> StepVerdict:
    """A healthy job's, as in the verdict file."""
    job = healthy(parse_topology(label))
    if speed:
        job[0]["speed"] = make_record(0, "speed", **speed)
    for phases in job.values():
        phases["connected"]["time"] = 100.0
        phases["done"]["time"] = 110.0
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    return render.step_verdict(judge(job_state, parse_topology(label))[0], VERSIONS)


def runs(*speeds: float | None, unit: str = "samples") -> list[results.Run]:
    """One on 1, 2, 4, ... nodes."""
    return [
        results.Run(2**i, 2**i, per_s, unit, "" if per_s else "no verdict")
        for i, per_s in enumerate(speeds)
    ]


def efficient(*efficiencies: float | None) -> tuple[Study, list[results.Row]]:
    """A study on 1, 2, 4, ... nodes of such efficiencies."""
    nodes = [2**i for i in range(len(efficiencies))]
    study = Study(("train.py",), tuple(nodes))
    pairs = zip(nodes, efficiencies, strict=True)
    speeds = [None if value is None else n * value for n, value in pairs]
    return study, results.compare(study, runs(*speeds))
