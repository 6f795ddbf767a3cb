"""Extracts the here-documents of a script before it is parsed."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

# Limit per line; more than two are unusual.
_MOST_OPERATORS = 16

_OPERATOR = re.compile(
    r"<<(?P<tabs>-?)[ \t]*(?P<quote>['\"\\]?)(?P<end>[A-Za-z_]\w*)['\"]?"
)


@dataclass(frozen=True)
class Heredoc:
    """The input of a command in `line`; its text begins in line `first`."""

    line: int
    first: int
    text: str


def extract_heredocs(lines: Sequence[str]) -> tuple[list[str], list[Heredoc]]:
    """Return the lines with here-documents blanked, and the here-documents.

    The grammar of tree-sitter-bash loses `|` and `&` after `<<`, which decide how the
    status of a step is used. An operator without an end is left unchanged.
    """
    kept = list(lines)
    found: list[Heredoc] = []
    ends = _Ends(lines)
    number = 0
    while number < len(lines):
        number = _take_out_of(number, lines, ends, kept, found)
    return kept, found


class _Ends:
    """An index of lines by their text."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._plain: dict[str, list[int]] = defaultdict(list)
        self._indented: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            self._plain[line].append(number)
            self._indented[line.lstrip("\t")].append(number)

    def after(self, start: int, word: str, *, is_indented: bool) -> int | None:
        numbers = (self._indented if is_indented else self._plain).get(word, [])
        index = bisect_left(numbers, start)
        return numbers[index] if index < len(numbers) else None


def _take_out_of(
    number: int,
    lines: Sequence[str],
    ends: _Ends,
    kept: list[str],
    found: list[Heredoc],
) -> int:
    """Process one line; return the number of the next line after its documents."""
    following = number + 1
    for match in _operators(lines[number]):
        end = ends.after(following, match["end"], is_indented=bool(match["tabs"]))
        if end is None:
            continue
        text = "\n".join(lines[following:end])
        found.append(Heredoc(number + 1, following + 1, text))
        kept[following : end + 1] = [""] * (end + 1 - following)
        start, stop = match.span()
        kept[number] = kept[number][:start] + " " * (stop - start) + kept[number][stop:]
        following = end + 1
    return following


def _operators(line: str) -> list[re.Match[str]]:
    if line.lstrip().startswith("#"):
        return []
    # `<<<` is a here-string, and `<<` after `((` is a shift.
    shift = line.find("((")
    stop = len(line) if shift < 0 else shift
    matches = islice(_OPERATOR.finditer(line, 0, stop), _MOST_OPERATORS)
    return [m for m in matches if line[max(0, m.start() - 1)] != "<"]
