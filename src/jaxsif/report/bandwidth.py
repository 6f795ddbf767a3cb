"""Which of the verdict's bandwidths stand for the rest; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from jaxsif.core.verdict_file import BandwidthFigure


def headlines(found: Iterable[BandwidthFigure]) -> list[BandwidthFigure]:
    """Of every collective and type the figure that is rated, or the largest."""
    series: dict[tuple[str, str], list[BandwidthFigure]] = defaultdict(list)
    for figure in found:
        series[figure.collective, figure.dtype].append(figure)
    return [rated(of) or of[-1] for of in series.values()]


def rated(figures: Sequence[BandwidthFigure]) -> BandwidthFigure | None:
    """Of a collective's figures the largest for which something was expected."""
    of_size = reversed(figures)
    return next((f for f in of_size if f.expected_bus_gb_per_s is not None), None)
