"""The bandwidths of collectives in the verdict file, which reports show."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from jaxsif.bandwidth import collectives, rating, results
from jaxsif.core.history import Histories
from jaxsif.core.verdict_file import BandwidthFigure


def bandwidths(
    histories: Histories, rated: Iterable[rating.RatedPoint]
) -> tuple[BandwidthFigure, ...]:
    """One figure per collective, type and size; the sizes of a test in ascending order."""
    found = results.points(histories)
    tests = {test: i for i, test in enumerate(dict.fromkeys(p.test for p in found))}
    ratings = {_key(measured.point): measured for measured in rated}
    return tuple(
        _figure(point, histories, ratings.get(_key(point)))
        for point in sorted(found, key=lambda p: (tests[p.test], p.size_bytes))
    )


def _key(point: results.Point) -> tuple[str, str, int]:
    return point.collective, point.dtype, point.size_bytes


def _figure(
    point: results.Point, histories: Histories, rated: rating.RatedPoint | None
) -> BandwidthFigure:
    times = {rank: median(of_rank) for rank, of_rank in point.times_us.items()}
    slowest = max(times, key=lambda rank: times[rank])
    fastest_gb_per_s, slowest_gb_per_s = (
        collectives.bus_gb_per_s(
            point.collective, point.size_bytes, time_us, point.devices
        )
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
        alg_gb_per_s=collectives.algorithm_gb_per_s(point.size_bytes, point.time_us),
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
