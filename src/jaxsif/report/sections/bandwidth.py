"""The page's part on bandwidth; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from jaxsif.core.text import format_significant, format_size
from jaxsif.core.verdict_file import BandwidthFigure
from jaxsif.html.markup import Markup, SectionBuilder, details, table, tag
from jaxsif.report.charts import bandwidth as chart
from jaxsif.report.figures import Figures


def section(frame: SectionBuilder, figures: Figures) -> Markup | None:
    """Nothing where no bandwidth was measured."""
    found = figures.bandwidths
    if not found:
        return None
    head = ("collective", "type", "size", "time, us", "algbw, GB/s", "busbw, GB/s")
    more = ("of expected", "slowest rank", "its busbw, GB/s", "wrong elements")
    rows = [_point_row(point) for point in found]
    text = tag(
        "p",
        "The mean of the ranks, the median of the trials; the pale band reaches from the"
        " slowest rank to the fastest. Bus bandwidth as nccl-tests defines it, GB are 1e9"
        f" bytes. {_expected(found)}",
    )
    return frame.section(
        "bandwidth",
        "Bandwidth",
        text,
        # One device alone has no bus bandwidth.
        frame.chart("bandwidth", chart.bandwidth(found))
        if any(figure.bus_gb_per_s > 0 for figure in found)
        else None,
        details("All sizes as a table", table(head + more, rows, label="Bandwidth")),
    )


def _expected(found: Sequence[BandwidthFigure]) -> str:
    """Whose word it is, or that there is none."""
    expected = [f for f in found if f.expected_bus_gb_per_s is not None]
    sources = sorted({figure.source for figure in expected} - {""})
    if sources:
        return f"Expected by: {'; '.join(sources)}."
    return "" if expected else "No value was expected: none is known for this hardware."


def _point_row(point: BandwidthFigure) -> tuple[object, ...]:
    return (
        point.collective,
        point.dtype,
        format_size(point.size_bytes),
        format_significant(point.time_us),
        format_significant(point.alg_gb_per_s),
        format_significant(point.bus_gb_per_s),
        "-" if point.ratio is None else f"{point.ratio:.2f}",
        f"{point.slowest_rank} on {point.slowest_node}",
        format_significant(point.slowest_bus_gb_per_s),
        point.wrong,
    )
