"""Build HTML: escaped text, tables, sections, charts; no templates."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.core import strict_json

# Okabe and Ito's palette, which is safe for colour-blind readers; page.css has a shade
# of each for light and dark.
COLOURS = (
    "--blue",
    "--orange",
    "--green",
    "--purple",
    "--sky",
    "--red",
    "--yellow",
    "--grey",
    "--brown",
)


@dataclass(frozen=True)
class Chart:
    """The data for plotly.js, and the text for screen readers."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    alt_text: str
    max_width_px: int | None = None


def plain(text: object) -> str:
    """Escape text for plotly.js, which interprets some tags."""
    return (
        escape_invisible(text)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )


def colours(count: int) -> list[str]:
    """The first `count` colours; the palette repeats if it is too short."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


# Control characters, and those that change the text direction. Node names and error
# texts are untrusted, so these characters must be visible.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)

_NUMERIC_CELL = re.compile(r"-|-?[0-9.,]+%?")

_VOID = {"meta", "br", "link", "hr"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape_invisible(text: object) -> str:
    """Replace each invisible character with a visible escape."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """`<element attribute="value">children</element>`; escapes what is not Markup.

    An attribute is omitted if None or False, and has no value if True; a trailing
    underscore is dropped (`class_`), and other underscores become `-`.
    """
    opened = "".join(_attribute(key, value) for key, value in attributes.items())
    if element in _VOID:
        return Markup(f"<{element}{opened}>")
    return Markup(f"<{element}{opened}>{join(*children)}</{element}>")


def join(*children: object, between: str = "") -> Markup:
    """Concatenate the children, without those that are None."""
    return Markup(between.join(_escaped(c) for c in children if c is not None))


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, label: str
) -> Markup:
    """A table; numbers are right-aligned. `label` is for screen readers."""
    columns = zip(*rows, strict=True) if rows else [()] * len(head)
    sides = ["number" if all(map(_is_number, c)) else None for c in columns]
    titles = zip(head, sides, strict=True)
    header = join(*(tag("th", w, scope="col", class_=side) for w, side in titles))
    body = join(*(tag("tr", *map(_cell, row, sides)) for row in rows))
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", header)),
            tag("tbody", body),
        ),
        class_="table",
        tabindex="0",
        role="region",
        aria_label=label,
    )


def as_script_data(value: Any) -> Markup:
    """JSON that is safe inside a <script> element."""
    text = strict_json.encode(value, indent=None, separators=(",", ":")).rstrip()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _is_number(value: object) -> bool:
    return _NUMERIC_CELL.fullmatch(str(value)) is not None


def _cell(value: object, side: str | None) -> Markup:
    text = f"{value:,}" if isinstance(value, int) else value
    return tag("td", text, class_=side)


def _escaped(child: object) -> str:
    return child if isinstance(child, Markup) else html.escape(escape_invisible(child))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return (
        f" {name}"
        if value is True
        else f' {name}="{html.escape(escape_invisible(value))}"'
    )


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
                aria_label=chart.alt_text,
                data_spec=identifier,
                style=style,
            ),
            tag("script", spec, type="application/json", id=identifier),
        )


def verdict_header(
    prefix: str,
    status: int,
    verdict: str,
    *,
    sign: str = "?",
    subject: Markup,
    summary: str,
    tiles: Iterable[tuple[str, str]],
) -> Markup:
    """The top of a page's part: the verdict, its subject, and the main figures.

    `status` sets the colour: an exit status. `tiles` are names and values.
    """
    return tag(
        "header",
        tag(
            "h1",
            tag("span", sign, class_="sign", aria_hidden="true"),
            f" {verdict}",
            id=f"{prefix}-verdict",
        ),
        tag("p", subject, class_="where"),
        tag("p", summary, class_="summary"),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles),
            class_="tiles",
        ),
        class_=f"verdict status-{status}",
    )


def details(title: str, content: Markup) -> Markup:
    """Content that is collapsed until it is opened."""
    return tag("details", tag("summary", title), content)


def download_link(title: str, name: str, kind: str, content: bytes) -> Markup:
    """A link to a file that is embedded in the page; `kind` is its media type."""
    encoded = base64.b64encode(content).decode()
    return tag("a", title, href=f"data:{kind};base64,{encoded}", download=name)
