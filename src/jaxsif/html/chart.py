"""Common parts of all charts: colours, text, and the data for the page."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsif.html.markup import escape_invisible

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
    words: str
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
