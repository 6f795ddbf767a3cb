"""Shorten a record's texts and lists to fit a number of bytes, and mark the cuts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Ends a text that was cut. How many items of a list are not shown stands in LEFT_OUT, by
# the list's place in the record, as `problems.0.ranks`.
MARK = " [...]"
LEFT_OUT = "left_out"

# Half a list of nodes would name other nodes; the judge has the list from the job, too.
_WHOLE_OR_NOTHING = ("nodes",)

# The most bytes of a text and items of a list, from mild to harsh.
_LIMITS = ((3000, 64), (1500, 48), (750, 32), (400, 16), (200, 8), (100, 4), (40, 2))


def shorter_forms(
    record: Mapping[str, Any], kept: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """The record in shorter and shorter forms. The fields `kept` stay as they are."""
    facts = {
        name: None if name in _WHOLE_OR_NOTHING else value
        for name, value in record.items()
    }
    yield facts
    for text_bytes, items in _LIMITS:
        left_out: dict[str, int] = {}
        short = {
            name: value
            if name in kept
            else _short(value, text_bytes, items, name, left_out)
            for name, value in facts.items()
        }
        yield {**short, LEFT_OUT: left_out} if left_out else short


def _short(
    value: Any, text_bytes: int, items: int, place: str, left_out: dict[str, int]
) -> Any:
    if isinstance(value, str):
        return _cut(value, text_bytes)
    if isinstance(value, (list, tuple)):
        if len(value) > items:
            left_out[place] = len(value) - items
        return [
            _short(item, text_bytes, items, f"{place}.{i}", left_out)
            for i, item in enumerate(value[:items])
        ]
    if isinstance(value, dict):
        return {
            name: _short(item, text_bytes, items, f"{place}.{name}", left_out)
            for name, item in value.items()
        }
    return value


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of a text, by its bytes in JSON: a character may take twelve."""
    if _bytes(text) <= most_bytes:
        return text
    size = len(MARK)
    for index, character in enumerate(text):
        size += _bytes(character)
        if size > most_bytes:
            return text[:index] + MARK
    return text


def _bytes(text: str) -> int:
    return len(json.dumps(text)) - 2
