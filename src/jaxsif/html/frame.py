"""Builds sections: unique ids, charts, collapsed content, downloads."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
from dataclasses import dataclass

from jaxsif.html.chart import Chart
from jaxsif.html.markup import Markup, as_script_data, tag


@dataclass(frozen=True)
class SectionBuilder:
    """Builds the sections of one part of the page; `prefix` makes their ids unique."""

    prefix: str
    has_charts: bool

    def section(self, name: str, title: str, *children: object) -> Markup:
        """A section with a heading."""
        identifier = f"{self.prefix}-{name}"
        return tag("section", tag("h2", title), *children, id=identifier)

    def chart(self, name: str, chart: Chart) -> Markup | None:
        """The element for a chart and its data; None without plotly.js."""
        if not self.has_charts:
            return None
        identifier = f"{self.prefix}-{name}-data"
        spec = as_script_data({"data": chart.data, "layout": chart.layout})
        style = f"min-height:{chart.layout['height']}px"
        if chart.max_width_px is not None:
            style += f";max-width:{chart.max_width_px}px"
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


def details(title: str, content: Markup) -> Markup:
    """Content that is collapsed until it is opened."""
    return tag("details", tag("summary", title), content)


def download_link(title: str, name: str, kind: str, content: bytes) -> Markup:
    """A link to a file that is embedded in the page; `kind` is its media type."""
    encoded = base64.b64encode(content).decode()
    return tag("a", title, href=f"data:{kind};base64,{encoded}", download=name)
