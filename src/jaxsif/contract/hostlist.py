"""Slurm's compressed node lists, spelled out; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

# A list may name more nodes than anyone has; expanding it must not eat the memory.
_MOST_NODES = 1_000_000


def expand(node_list: str) -> list[str]:
    """`gpu[01-02]-ib,login` -> `["gpu01-ib", "gpu02-ib", "login"]`.

    Raises ValueError for text that is not a node list.
    """
    nodes: list[str] = []
    for element in _split_outside_brackets(node_list):
        parts = re.split(r"(\[[^\[\]]*\])", element)
        if any("[" in part or "]" in part for part in parts[::2]):
            raise ValueError(f"unbalanced brackets in the node list {node_list!r}")
        choices = [
            _expand_range(part[1:-1]) if part.startswith("[") else [part]
            for part in parts
        ]
        nodes.extend("".join(choice) for choice in product(*choices))
    return nodes


def _split_outside_brackets(node_list: str) -> list[str]:
    return [part for part in re.split(r",(?![^\[]*\])", node_list) if part]


def _expand_range(ranges: str) -> list[str]:
    numbers: list[str] = []
    for item in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", item, re.ASCII)
        if match is None:
            raise ValueError(f"not a range of node numbers: {item!r}")
        first, last = match[1], match[2] or match[1]
        if int(last) - int(first) >= _MOST_NODES:
            raise ValueError(f"a range of more than {_MOST_NODES} nodes: {item!r}")
        # Slurm keeps the zeros that the first number is written with.
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return numbers


def spans(numbers: Iterable[int], most: int | None = None) -> str:
    """`0-3, 7`, each number once; `..., ...` behind the first `most` where there are more."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:most]]
    return ", ".join(named) + (", ..." if len(runs) > len(named) else "")
