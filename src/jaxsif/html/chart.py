"""What all charts have: their colours, their text, the value that the page takes; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsif.html.markup import visible

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart;
# page.css has a shade of each for light and dark.
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
    """What plotly.js draws, and the sentence for those who do not see it."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    words: str
    widest_px: int | None = None


def plain(text: object) -> str:
    """Text as it stands: plotly.js takes some tags for markup."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def colours(count: int) -> list[str]:
    """So many; the first again where there are more than the palette has."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
