"""Takes the here-documents out of a script before it is parsed, and keeps what stands in them; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_OPERATOR = re.compile(
    r"<<(?P<tabs>-?)[ \t]*(?P<quote>['\"\\]?)(?P<end>[A-Za-z_]\w*)['\"]?"
)


@dataclass(frozen=True)
class Heredoc:
    """What a command of `line` reads; its own first line is `first`."""

    line: int
    first: int
    text: str


def take_out(lines: Sequence[str]) -> tuple[list[str], list[Heredoc]]:
    """The lines, of the same number, without here-documents, and these.

    The grammar of tree-sitter-bash loses `|` and `&` behind `<<`, which decide what
    becomes of a step. An operator whose end is nowhere is left as it stands.
    """
    kept = list(lines)
    found: list[Heredoc] = []
    number = 0
    while number < len(lines):
        number = _take_out_of(number, lines, kept, found)
    return kept, found


def _take_out_of(
    number: int, lines: Sequence[str], kept: list[str], found: list[Heredoc]
) -> int:
    """Deals with one line; returns the number of the next that is none of its documents."""
    following = number + 1
    for match in _operators(lines[number]):
        end = _end(lines, following, match["end"], bool(match["tabs"]))
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
    return [
        match
        for match in _OPERATOR.finditer(line)
        # `<<<` is a word, and `((` has a shift in it.
        if line[max(0, match.start() - 1)] != "<" and "((" not in line[: match.start()]
    ]


def _end(lines: Sequence[str], start: int, word: str, is_indented: bool) -> int | None:
    for number in range(start, len(lines)):
        line = lines[number].lstrip("\t") if is_indented else lines[number]
        if line == word:
            return number
    return None
