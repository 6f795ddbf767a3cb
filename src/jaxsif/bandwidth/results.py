"""Measured bandwidths of a step, rated by what is expected of its hardware."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxsif.bandwidth import hardware
from jaxsif.bandwidth.baseline import Baseline, Key
from jaxsif.bandwidth.collectives import (
    COLLECTIVES,
    DTYPES,
    algorithm_gb_per_s,
    bus_gb_per_s,
    interquartile,
    mean_over_ranks,
)
from jaxsif.bandwidth.hardware import Expectation, NodeHardware
from jaxsif.core.evidence import WARN_RATIO
from jaxsif.core.history import Histories
from jaxsif.core.records import BandwidthRecord, Reported
from jaxsif.core.text import format_size, plural
from jaxsif.core.topology import Topology
from jaxsif.core.verdict_file import BandwidthFigure

# The test in the verdict's line, if there are several.
_HEADLINE = ("all-reduce", "f32")


@dataclass(frozen=True)
class Point:
    """One collective of one type at one size, from all ranks that reported it.

    By rank: `times_us` of one collective in each trial, `local_us` of the rank's own
    work in each; `wrong` counts wrong elements.
    """

    collective: str
    dtype: str
    size_bytes: int
    devices: int
    times_us: Mapping[int, tuple[float, ...]]
    local_us: Mapping[int, tuple[float, ...]]
    wrong: Mapping[int, int]

    @property
    def test(self) -> tuple[str, str]:
        return self.collective, self.dtype

    @cached_property
    def by_trial_us(self) -> list[float]:
        """The mean of the ranks, trial by trial."""
        return mean_over_ranks(list(self.times_us.values()))

    @cached_property
    def time_us(self) -> float:
        """The median of the trials."""
        return statistics.median(self.by_trial_us)

    @property
    def spread(self) -> float:
        """The interquartile range of the trials, relative to their median."""
        return interquartile(self.by_trial_us) / self.time_us

    @property
    def bus_gb_per_s(self) -> float:
        return bus_gb_per_s(
            self.collective, self.size_bytes, self.time_us, self.devices
        )

    @property
    def description(self) -> str:
        """`all-reduce bf16 at 64 MiB`; f32 is not named."""
        dtype = "" if self.dtype == "f32" else f" {self.dtype}"
        return f"{self.collective}{dtype} at {format_size(self.size_bytes)}"


@dataclass(frozen=True)
class RatedPoint:
    """A measured point, and its expected speed if known."""

    point: Point
    expectation: Expectation | None

    @property
    def ratio(self) -> float | None:
        """Measured divided by expected."""
        if self.expectation is None:
            return None
        return self.point.bus_gb_per_s / self.expectation.gb_per_s

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to report; true as well if nothing is expected."""
        if self.expectation is None or self.ratio is None:
            return True
        least = self.expectation.least_gb_per_s
        return self.ratio >= WARN_RATIO or self.point.bus_gb_per_s >= least

    @property
    def description(self) -> str:
        """`all-reduce 12.3 GB/s busbw at 64 MiB, 0.93 of the expected 13.2`"""
        point = self.point
        dtype = "" if point.dtype == "f32" else f" {point.dtype}"
        text = (
            f"{point.collective}{dtype} {point.bus_gb_per_s:.3g} GB/s busbw at"
            f" {format_size(point.size_bytes)}"
        )
        if self.expectation is None:
            return text
        return (
            f"{text}, {self.ratio:.2f} of the expected {self.expectation.gb_per_s:.3g}"
        )


@dataclass(frozen=True)
class BandwidthResults:
    """All bandwidths of a step, and for each test the rated one.

    `points` are in the order of measurement; `nodes` are those that reported their
    hardware.
    """

    points: tuple[Point, ...]
    rated: tuple[RatedPoint, ...]
    nodes: tuple[NodeHardware, ...]

    @property
    def hardware_name(self) -> str:
        """The name of the hardware in a baseline."""
        return hardware.hardware_name(self.nodes)

    def headline(self) -> str:
        """The speed for the verdict's line; empty if none was measured.

        All-reduce of f32, or else the first test's. A single device sends nothing.
        """
        by_test = {rated.point.test: rated for rated in self.rated}
        first = by_test.get(_HEADLINE) or next(iter(self.rated), None)
        if first is None or first.point.devices == 1:
            return ""
        if first.expectation:
            return first.description
        return (
            f"{first.description} (no expected value for {self.hardware_name}; learn"
            " one: jax-sif baseline add)"
        )

    def figures(self, histories: Histories) -> tuple[BandwidthFigure, ...]:
        """The values of the verdict file; the sizes of a test in ascending order."""
        tests = list(dict.fromkeys(point.test for point in self.points))
        rated = {id(rated.point): rated for rated in self.rated}
        return tuple(
            _figure(point, histories, rated.get(id(point)))
            for point in sorted(
                self.points, key=lambda p: (tests.index(p.test), p.size_bytes)
            )
        )


def bandwidth_results(
    histories: Histories, topology: Topology, baseline: Baseline | None
) -> BandwidthResults:
    """The bandwidths that the ranks reported.

    Rated is, per test, the largest size for which a speed is expected, or the largest:
    a baseline may come from a run that ended at a smaller size.
    """
    found = points(histories)
    nodes = tuple(hardware.nodes(histories))
    by_test: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in found:
        by_test[point.test].append(point)
    rated = []
    for of_test in by_test.values():
        of_test.sort(key=lambda point: -point.size_bytes)
        expected = (
            RatedPoint(point, _expected(point, topology, nodes, baseline))
            for point in of_test
        )
        known = next((point for point in expected if point.expectation), None)
        rated.append(known or RatedPoint(of_test[0], None))
    return BandwidthResults(tuple(found), tuple(rated), nodes)


def points(ranks: Mapping[int, Reported]) -> list[Point]:
    """All points, in the order of measurement; `ranks` by number."""
    found: dict[tuple[str, str, int], dict[int, BandwidthRecord]] = defaultdict(dict)
    for rank, reported in ranks.items():
        for record in reported.measured(BandwidthRecord):
            if _is_known(record):
                key = record.collective, record.dtype, record.size_bytes
                found[key][rank] = record
    return [_point(*key, by_rank) for key, by_rank in found.items()]


def _is_known(record: BandwidthRecord) -> bool:
    """Whether a speed follows from it: any program may emit records."""
    return bool(
        record.collective in COLLECTIVES
        and record.dtype in DTYPES
        and record.size_bytes
        and record.devices
        and record.times_us
        and min(record.times_us) > 0
    )


def _point(
    collective: str, dtype: str, size_bytes: int, by_rank: Mapping[int, BandwidthRecord]
) -> Point:
    first = next(iter(by_rank.values()))
    return Point(
        collective,
        dtype,
        size_bytes,
        first.devices,
        {rank: tuple(r.times_us) for rank, r in by_rank.items()},
        {rank: tuple(r.local_us) for rank, r in by_rank.items()},
        {rank: r.wrong_elements for rank, r in by_rank.items()},
    )


def _expected(
    point: Point,
    topology: Topology,
    nodes: Sequence[NodeHardware],
    baseline: Baseline | None,
) -> Expectation | None:
    """The baseline's value, or else the one for the hardware."""
    if baseline is not None:
        name = hardware.hardware_name(nodes)
        key = Key(name, topology.label, point.collective, point.dtype, point.size_bytes)
        value = baseline.expected_gb_per_s(key)
        if value is not None:
            runs = baseline.runs[key]
            source = f"{baseline.name}, {plural(len(runs), 'run')}"
            return Expectation(value, source, min(runs))
    return hardware.expected(point.collective, point.size_bytes, topology, nodes)


def _figure(
    point: Point, histories: Histories, rated: RatedPoint | None
) -> BandwidthFigure:
    times = {
        rank: statistics.median(of_rank) for rank, of_rank in point.times_us.items()
    }
    slowest = max(times, key=lambda rank: times[rank])
    fastest_gb_per_s, slowest_gb_per_s = (
        bus_gb_per_s(point.collective, point.size_bytes, time_us, point.devices)
        for time_us in (min(times.values()), times[slowest])
    )
    expectation = rated.expectation if rated else None
    return BandwidthFigure(
        collective=point.collective,
        dtype=point.dtype,
        size_bytes=point.size_bytes,
        devices=point.devices,
        ranks=len(times),
        time_us=point.time_us,
        alg_gb_per_s=algorithm_gb_per_s(point.size_bytes, point.time_us),
        bus_gb_per_s=point.bus_gb_per_s,
        slowest_bus_gb_per_s=slowest_gb_per_s,
        fastest_bus_gb_per_s=fastest_gb_per_s,
        slowest_rank=slowest,
        slowest_node=histories[slowest].node,
        wrong=sum(point.wrong.values()),
        expected_bus_gb_per_s=expectation.gb_per_s if expectation else None,
        ratio=rated.ratio if rated else None,
        source=expectation.source if expectation else "",
    )
