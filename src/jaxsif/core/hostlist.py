"""Expand Slurm's compressed node lists."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import product

from jaxsif.core.text import quoted

# Upper limits, so that a malformed list cannot exhaust memory; checked before
# expanding.
MAX_NAMES = 1 << 18
_MAX_NAME = 255
_MAX_LIST = 4 << 20

_TOKEN = re.compile(r"\[([^\[\]]*)\]|[^\[\],]+|[\[\],]")
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)

# Numbers, and with how many digits the shorter ones are written.
_Numbers = tuple[range, int]
# Literal text, or the number ranges between brackets.
_Part = str | list[_Numbers]


def expand(node_list: str, most: int = MAX_NAMES) -> list[str]:
    """`gpu[01-02]-ib,login` -> `["gpu01-ib", "gpu02-ib", "login"]`.

    Raises ValueError for text that is not a node list, or one of more than `most`
    names.
    """
    if len(node_list) > _MAX_LIST:
        raise ValueError(f"a node list of {len(node_list)} characters")
    nodes: list[str] = []
    for element in _elements(node_list):
        # Check number and length of the names before creating them.
        is_long = len(element) > _MAX_NAME or (sum(map(_length, element)) > _MAX_NAME)
        if is_long or math.prod(map(_count, element)) > most - len(nodes):
            raise ValueError(
                f"too many or too long names in the node list {quoted(node_list)}"
            )
        nodes += map("".join, product(*map(_texts, element)))
    return nodes


def _elements(node_list: str) -> Iterator[list[_Part]]:
    """The elements between the commas outside of brackets."""
    element: list[_Part] = []
    for token in _TOKEN.finditer(node_list):
        if token[0] == "," and element:
            yield element
            element = []
        elif token[0] in "[]":
            raise ValueError(
                f"unbalanced brackets in the node list {quoted(node_list)}"
            )
        elif token[1] is not None:
            element.append([_numbers(item) for item in token[1].split(",")])
        elif token[0] != ",":
            element.append(token[0])
    if element:
        yield element


def _numbers(item: str) -> _Numbers:
    match = _RANGE.fullmatch(item)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"not a range of node numbers: {quoted(item)}")
    return range(int(match[1]), int(match[2] or match[1]) + 1), len(match[1])


def _count(part: _Part) -> int:
    return 1 if isinstance(part, str) else sum(len(numbers) for numbers, _ in part)


def _length(part: _Part) -> int:
    if isinstance(part, str):
        return len(part)
    return max(max(len(str(numbers[-1])), digits) for numbers, digits in part)


def _texts(part: _Part) -> list[str]:
    if isinstance(part, str):
        return [part]
    # Slurm keeps the leading zeros of the first number.
    return [f"{n:0{digits}d}" for numbers, digits in part for n in numbers]
