"""Which of the verdict's bandwidths stand for the rest; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from jaxsif.bandwidth.figures import Figure


def headlines(found: Iterable[Figure]) -> list[Figure]:
    """Of every collective and type the figure that is rated, or the largest."""
    series: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in found:
        series[figure.collective, figure.dtype].append(figure)
    return [rated(of) or of[-1] for of in series.values()]


def rated(figures: Sequence[Figure]) -> Figure | None:
    """Of a collective's figures the largest for which something was expected."""
    of_size = reversed(figures)
    return next((f for f in of_size if f.expected_bus_gb_per_s is not None), None)
