"""Text of unknown origin, made safe to show."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations


def printable(text: str) -> str:
    """One line without control characters: a terminal must not obey what it shows."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
