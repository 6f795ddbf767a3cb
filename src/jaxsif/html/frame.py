"""What all sections have: ids of their own, a place for a chart, what is folded away or attached; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
from dataclasses import dataclass

from jaxsif.html.chart import Chart
from jaxsif.html.markup import Markup, as_script_data, tag


@dataclass(frozen=True)
class Frame:
    """A part of the page, as that of one verdict. `prefix` keeps its ids apart from another's."""

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


def attached(title: str, name: str, kind: str, content: bytes) -> Markup:
    """A link to a file that lies inside the page; `kind` is its media type."""
    encoded = base64.b64encode(content).decode()
    return tag("a", title, href=f"data:{kind};base64,{encoded}", download=name)
