"""Bandwidth per collective and size, out of every rank's times; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from jaxsif.bandwidth import collectives
from jaxsif.report.document import Expectation, Rank, Verdict
from jaxsif.report.measured import Bandwidth, told


@dataclass(frozen=True)
class Point:
    """A collective at one size.

    `time_us` is nccl-tests': the mean of the ranks in each trial, the median of these
    over the trials. `low_us` and `high_us` are the fastest and the slowest rank's own
    medians.
    """

    collective: str
    dtype: str
    size_bytes: int
    devices: int
    ranks: int
    time_us: float
    low_us: float
    high_us: float
    slowest: Rank
    wrong: int
    expected: Expectation | None

    @property
    def alg_gb_per_s(self) -> float:
        return _gb_per_s(self.size_bytes, self.time_us)

    @property
    def bus_gb_per_s(self) -> float:
        return self.alg_gb_per_s * bus_factor(self.collective, self.devices)

    @property
    def bus_range_gb_per_s(self) -> tuple[float, float]:
        """By the slowest rank's time and the fastest's."""
        factor = bus_factor(self.collective, self.devices)
        slowest, fastest = (
            _gb_per_s(self.size_bytes, time_us) * factor
            for time_us in (self.high_us, self.low_us)
        )
        return slowest, fastest

    @property
    def of_expected(self) -> float | None:
        """The part of what was expected that was reached."""
        if self.expected is None or self.expected.bus_gb_per_s <= 0:
            return None
        return self.bus_gb_per_s / self.expected.bus_gb_per_s


def bus_factor(collective: str, devices: int) -> float:
    """From algorithm to bus bandwidth; 1 for a collective of a later jax-sif."""
    known = collective in collectives.COLLECTIVES and devices > 1
    return collectives.bus_factor(collective, devices) if known else 1.0


def points(verdict: Verdict) -> list[Point]:
    """One for every collective, type and size, in that order."""
    groups: dict[tuple[str, str, int], list[tuple[Rank, Bandwidth]]] = defaultdict(list)
    for rank, result in told(verdict, "bandwidth", Bandwidth):
        if result.times_us:
            key = (result.collective, result.dtype, result.size_bytes)
            groups[key].append((rank, result))
    order = {name: i for i, name in enumerate(dict.fromkeys(k[:2] for k in groups))}
    keys = sorted(groups, key=lambda key: (order[key[:2]], key[2]))
    return [_point(groups[key], verdict.expected) for key in keys]


def headlines(found: Iterable[Point]) -> list[Point]:
    """Of every collective and type the point that is judged, or the largest."""
    series: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in found:
        series[point.collective, point.dtype].append(point)
    return [judged_point(of) or of[-1] for of in series.values()]


def judged_point(points: Sequence[Point]) -> Point | None:
    """Of a collective's points the largest for which something was expected."""
    return next((p for p in reversed(points) if p.expected is not None), None)


def _point(
    results: list[tuple[Rank, Bandwidth]], expectations: Iterable[Expectation]
) -> Point:
    first = results[0][1]
    times = [(median(result.times_us), rank) for rank, result in results]
    high_us, slowest = max(times, key=lambda time: time[0])
    return Point(
        collective=first.collective,
        dtype=first.dtype,
        size_bytes=first.size_bytes,
        devices=first.devices,
        ranks=len(results),
        time_us=median(
            collectives.mean_over_ranks([result.times_us for _, result in results])
        ),
        low_us=min(time for time, _ in times),
        high_us=high_us,
        slowest=slowest,
        wrong=sum(result.wrong for _, result in results),
        expected=_expectation(first, expectations),
    )


def _expectation(
    result: Bandwidth, expectations: Iterable[Expectation]
) -> Expectation | None:
    """What holds for this result; one that names a size holds for that size alone."""
    for expected in expectations:
        if (
            expected.collective == result.collective
            and expected.dtype in (None, result.dtype)
            and expected.size_bytes in (None, result.size_bytes)
        ):
            return expected
    return None


def _gb_per_s(size_bytes: int, time_us: float) -> float:
    return collectives.algorithm_gb_per_s(size_bytes, time_us) if time_us > 0 else 0.0
