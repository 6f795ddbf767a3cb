"""Results of the bandwidth test, gathered from the ranks' records."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxsif.bandwidth.collectives import (
    COLLECTIVES,
    DTYPES,
    bus_gb_per_s,
    interquartile,
    mean_over_ranks,
)
from jaxsif.core.records import BandwidthRecord, Reported
from jaxsif.core.text import format_size

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

    @property
    def by_trial_us(self) -> list[float]:
        """The mean of the ranks, trial by trial."""
        return mean_over_ranks(list(self.times_us.values()))

    @property
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


def largest(found: Iterable[Point]) -> list[Point]:
    """Per test, the point of its largest size, which is rated."""
    by_test: dict[tuple[str, str], Point] = {}
    for point in found:
        known = by_test.get(point.test)
        if known is None or point.size_bytes > known.size_bytes:
            by_test[point.test] = point
    return list(by_test.values())


def headline(found: Iterable[Point]) -> Point | None:
    """All-reduce of f32 at its largest size, or else the first test's."""
    candidates = largest(found)
    named = [point for point in candidates if point.test == _HEADLINE]
    return next(iter([*named, *candidates]), None)
