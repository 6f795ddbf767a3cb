"""Results of a scaling study: the speed on each number of nodes, from the verdicts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from jaxsif.core.records import DoneRecord, SpeedRecord
from jaxsif.core.verdict_file import RankReport, StepVerdict
from jaxsif.scaling.plan import Study

# Up to this number of nodes -> the efficiency of a program that scales well.
TARGETS = ((8, 0.8), (16, 0.6), (32, 0.4))

# The unit when the program does not report its speed: whole runs are compared.
WALL_TIME_UNIT = "runs"
# In a weak scaling study, one of these is more work on more nodes.
_STEPS = ("steps", WALL_TIME_UNIT)


@dataclass(frozen=True)
class Run:
    """One job.

    `per_s` is its speed in `unit` per second; None if unknown, and `message` says why.
    `failed` distinguishes a failed job from one whose result is unknown.
    """

    nodes: int
    devices: int
    per_s: float | None
    unit: str
    message: str
    failed: bool = False


@dataclass(frozen=True)
class Row:
    """The runs on one number of nodes, compared with those on the fewest.

    Args:
      devices: 0 if no run reported them.
      per_s: the median of the runs; None if no run has a speed.
      speed_ups: of each run that has a speed, over the median on the fewest nodes.
      target_efficiency: the least good efficiency; None if none is defined.
    """

    nodes: int
    devices: int
    runs: tuple[Run, ...]
    per_s: float | None
    unit: str
    ideal: float
    speed_ups: tuple[float, ...]
    target_efficiency: float | None

    @property
    def speed_up(self) -> float | None:
        return median(self.speed_ups) if self.speed_ups else None

    @property
    def efficiency(self) -> float | None:
        return None if self.speed_up is None else self.speed_up / self.ideal

    @property
    def efficiencies(self) -> tuple[float, ...]:
        """The efficiency of each run that has a speed."""
        return tuple(speed_up / self.ideal for speed_up in self.speed_ups)

    @property
    def is_good(self) -> bool | None:
        """Whether the target is met; None if there is no target or no speed."""
        if self.efficiency is None or self.target_efficiency is None:
            return None
        return self.efficiency >= self.target_efficiency


def run_without_verdict(nodes: int, output: str, file: object) -> Run:
    """A job without a verdict.

    It failed if the last line of its output is that of `jax-sif check`, which runs
    before the ranks; otherwise its result is unknown.
    """
    last = output.rstrip().rpartition("\n")[2]
    if last.startswith("FAIL  "):
        why = last.partition(": ")[2] or last
        return Run(nodes, 0, None, "", f"FAIL: {why}", failed=True)
    return Run(nodes, 0, None, "", f"no verdict; see its output: {file}")


def run_of(nodes: int, verdict: StepVerdict) -> Run:
    """The run of a job with a verdict."""
    devices = verdict.topology.devices
    if verdict.status != 0:
        message = f"{verdict.verdict}: {_failure_reason(verdict)}"
        return Run(nodes, devices, None, "", message, failed=verdict.status == 1)
    speeds = [record for _, record in verdict.measured(SpeedRecord)]
    if speeds:
        last = speeds[-1]
        return Run(nodes, devices, last.items / last.seconds, last.unit, "")
    seconds = [_wall_time_s(rank) for rank in verdict.ranks]
    longest_s = max(seconds, default=0.0)
    if longest_s <= 0:
        return Run(nodes, devices, None, "", "no rank reported its start and end")
    return Run(nodes, devices, 1 / longest_s, WALL_TIME_UNIT, "")


def _failure_reason(verdict: StepVerdict) -> str:
    return verdict.summary.partition(": ")[2] or verdict.summary


def _wall_time_s(rank: RankReport) -> float:
    """Time from joining the group to the end, by the rank's clock."""
    done = rank.last(DoneRecord)
    if rank.connected is None or done is None:
        return 0.0
    return done.time - rank.connected.time


def compare(study: Study, runs: Sequence[Run]) -> list[Row]:
    """Compare the runs on each number of nodes with those on the fewest.

    The fewest nodes that have a speed are the reference. Runs in a different unit are
    not compared.
    """
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
        target_efficiency=next(
            (least for most, least in TARGETS if nodes <= most), None
        ),
    )
