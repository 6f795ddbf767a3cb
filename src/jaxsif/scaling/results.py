"""What came out of a scaling study: the speed on each number of nodes, from the verdicts; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
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
    """One job. `per_s` is how many `unit` it did in a second; None: why not is `said`.

    `failed` tells a job that went wrong from one of which nothing is known.
    """

    nodes: int
    devices: int
    per_s: float | None
    unit: str
    said: str
    failed: bool = False


@dataclass(frozen=True)
class Row:
    """The runs on one number of nodes, beside those on the fewest.

    Args:
      devices: 0 where no run told them.
      per_s: the median of the runs; None, as what follows from it, without a speed.
      speed_ups: of each run that has a speed, beside the median on the fewest nodes.
      good: the least efficiency that is good on so many nodes; None: nobody says.
    """

    nodes: int
    devices: int
    runs: tuple[Run, ...]
    per_s: float | None
    unit: str
    ideal: float
    speed_ups: tuple[float, ...]
    good: float | None

    @property
    def speed_up(self) -> float | None:
        return median(self.speed_ups) if self.speed_ups else None

    @property
    def efficiency(self) -> float | None:
        return None if self.speed_up is None else self.speed_up / self.ideal

    @property
    def efficiencies(self) -> tuple[float, ...]:
        """Of each run that has a speed."""
        return tuple(speed_up / self.ideal for speed_up in self.speed_ups)

    @property
    def is_good(self) -> bool | None:
        """None where nobody can tell."""
        if self.efficiency is None or self.good is None:
            return None
        return self.efficiency >= self.good


def run_without_verdict(nodes: int, output: str, file: object) -> Run:
    """A job that `jax-sif check` refused before its ranks began, as the last line of its
    output tells; or one of which nothing is known."""
    last = output.rstrip().rpartition("\n")[2]
    if last.startswith("FAIL  "):
        why = last.partition(": ")[2] or last
        return Run(nodes, 0, None, "", f"FAIL: {why}", failed=True)
    return Run(nodes, 0, None, "", f"no verdict; what it printed: {file}")


def run_of(nodes: int, verdict: Mapping[str, Any]) -> Run:
    """The speed that a job's verdict tells."""
    devices = int(verdict["topology"]["devices"])
    if verdict["status"] != 0:
        said = f"{verdict['verdict']}: {_why(verdict)}"
        return Run(nodes, devices, None, "", said, failed=verdict["status"] == 1)
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
    """The runs on each number of nodes beside those on the fewest that have a speed,
    which count as ideal. A run in another unit than theirs is not compared."""
    known = [run for run in runs if run.per_s is not None]
    unit = known[0].unit if known else ""
    fewest = known[0].nodes if known else study.nodes[0]
    first = _speeds([run for run in runs if run.nodes == fewest], unit)
    return [
        _row(study, [run for run in runs if run.nodes == nodes], fewest, first, unit)
        for nodes in study.nodes
    ]


def _speeds(runs: Sequence[Run], unit: str) -> list[float]:
    return [run.per_s for run in runs if run.per_s is not None and run.unit == unit]


def _row(
    study: Study, runs: Sequence[Run], fewest: int, first: Sequence[float], unit: str
) -> Row:
    nodes, speeds = runs[0].nodes, _speeds(runs, unit)
    ideal = nodes / fewest
    more_work = ideal if study.is_weak and unit in _STEPS else 1.0
    return Row(
        nodes=nodes,
        devices=max(run.devices for run in runs),
        runs=tuple(runs),
        per_s=median(speeds) if speeds else None,
        unit=unit,
        ideal=ideal,
        speed_ups=tuple(speed / median(first) * more_work for speed in speeds),
        good=next((least for most, least in GOOD if nodes <= most), None),
    )
