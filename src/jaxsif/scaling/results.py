"""What came out of a scaling study: the speed on each number of nodes, from the verdicts; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.scaling.plan import Study

# By these a program scales well: nodes at most -> its efficiency at least.
GOOD = ((8, 0.8), (16, 0.6), (32, 0.4))

# What is compared where the program itself tells no speed.
WALL = "runs"
# A step of a study whose work grows is more work on more nodes.
_STEPS = ("steps", WALL)


@dataclass(frozen=True)
class Run:
    """One job. `per_s` is how many `unit` it did in a second; None: why not is `said`."""

    nodes: int
    devices: int
    per_s: float | None
    unit: str
    said: str


@dataclass(frozen=True)
class Row:
    """A run beside the one on the fewest nodes. All are None where there is no speed."""

    run: Run
    ideal: float
    speed_up: float | None
    efficiency: float | None
    # The least efficiency that is good on so many nodes; None: nobody says.
    good: float | None

    @property
    def is_good(self) -> bool | None:
        """None where nobody can tell."""
        if self.efficiency is None or self.good is None:
            return None
        return self.efficiency >= self.good


def run_of(nodes: int, verdict: Mapping[str, Any] | None) -> Run:
    """The speed that a job's verdict tells; None: the job has none."""
    if verdict is None:
        return Run(nodes, 0, None, "", "no verdict")
    devices = int(verdict["topology"]["devices"])
    if verdict["status"] != 0:
        return Run(nodes, devices, None, "", f"{verdict['verdict']}: {_why(verdict)}")
    told = [
        record
        for rank in verdict["ranks"]
        for record in rank["measured"]
        if record["phase"] == "speed"
    ]
    if told:
        last = told[-1]
        return Run(nodes, devices, last["items"] / last["seconds"], last["unit"], "")
    seconds = [_wall_s(rank["told"]) for rank in verdict["ranks"]]
    longest_s = max(seconds, default=0.0)
    if longest_s <= 0:
        return Run(nodes, devices, None, "", "no rank told its beginning and its end")
    return Run(nodes, devices, 1 / longest_s, WALL, "")


def _why(verdict: Mapping[str, Any]) -> str:
    return str(verdict["summary"]).partition(": ")[2] or str(verdict["summary"])


def _wall_s(told: Mapping[str, Mapping[str, Any]]) -> float:
    """From joining the group to the end, by the rank's own clock."""
    if not {"connected", "done"} <= told.keys():
        return 0.0
    return float(told["done"]["time"] - told["connected"]["time"])


def compare(study: Study, runs: Sequence[Run]) -> list[Row]:
    """Each run beside the first that has a speed, which counts as ideal."""
    known = [run for run in runs if run.per_s is not None]
    unit = known[0].unit if known else ""
    rows = []
    for run in runs:
        first = known[0] if known else run
        ideal = run.nodes / first.nodes
        speed_up = None
        if run.per_s is not None and first.per_s is not None and run.unit == unit:
            more_work = ideal if study.is_weak and unit in _STEPS else 1.0
            speed_up = run.per_s / first.per_s * more_work
        rows.append(
            Row(
                run,
                ideal,
                speed_up,
                None if speed_up is None else speed_up / ideal,
                next((least for most, least in GOOD if run.nodes <= most), None),
            )
        )
    return rows
