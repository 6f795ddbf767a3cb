"""What all sections have: ids of their own, a place for a chart, what is folded away; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from jaxsif.report.charts.chart import Chart
from jaxsif.report.markup import Markup, as_script_data, tag


@dataclass(frozen=True)
class Frame:
    """One verdict's part of the page. `prefix` keeps its ids apart from another's."""

    prefix: str
    has_charts: bool

    def section(self, name: str, title: str, *children: object) -> Markup:
        """A part with its heading."""
        identifier = f"{self.prefix}-{name}"
        return tag("section", tag("h2", title), *children, id=identifier)

    def chart(self, name: str, chart: Chart) -> Markup | None:
        """A place where the chart is drawn, and its data; nothing without plotly.js."""
        if not self.has_charts:
            return None
        identifier = f"{self.prefix}-{name}-data"
        spec = as_script_data({"data": chart.data, "layout": chart.layout})
        style = f"min-height:{chart.layout['height']}px"
        if chart.widest_px is not None:
            style += f";max-width:{chart.widest_px}px"
        return tag(
            "figure",
            tag(
                "div",
                class_="plot",
                role="img",
                aria_label=chart.words,
                data_spec=identifier,
                style=style,
            ),
            tag("script", spec, type="application/json", id=identifier),
        )


def folded(title: str, content: Markup) -> Markup:
    """What is behind a figure, for those who open it."""
    return tag("details", tag("summary", title), content)
