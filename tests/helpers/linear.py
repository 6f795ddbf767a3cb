"""Whether a regular expression takes time in proportion to the text, by its form alone."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

# One character of every kind that the kit's expressions distinguish.
_ALPHABET = frozenset(map(chr, range(128))) | {"\u00e9"}
# From here on a repeat counts as one without an end: many starts times this is too much.
_WIDE = 1000
# Two of these behind each other, or one in the other, multiply.
_BROAD = 64
_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
_MOST_PATHS = 4096


@dataclass(frozen=True)
class Element:
    """One thing in a row: the characters of each of its alternatives, and its repeats.

    `alternatives` are rows of sets of characters; any one of them matches. `most` is 1
    for what does not repeat. `cell` numbers the atomic groups around it.
    """

    alternatives: tuple[tuple[frozenset[str], ...], ...]
    most: int = 1
    cell: tuple[int, ...] = ()
    is_anchor: bool = False

    @property
    def characters(self) -> frozenset[str]:
        return frozenset().union(*(s for row in self.alternatives for s in row))

    def fits(self, characters: frozenset[str]) -> bool:
        """Whether text of these characters alone can match it."""
        return any(all(s & characters for s in row) for row in self.alternatives)


def complaints(pattern: str, flags: int = 0, *, is_searched: bool = True) -> list[str]:
    """What makes an expression slow on long text; nothing where it is linear.

    Args:
      is_searched: whether a match may begin anywhere (`search`, `findall`).
    """
    tree = _parser.parse(pattern, flags & ~re.DEBUG)
    found = list(_nested(tree))
    for path in _paths(tree, flags | tree.state.flags, ()):
        found += _slow(path, is_searched=is_searched)
    return list(dict.fromkeys(found))


def _slow(path: Sequence[Element], *, is_searched: bool) -> Iterator[str]:
    for index, element in enumerate(path):
        rest = path[index + 1 :]
        if element.most < _BROAD or not any(map(_is_needed, rest)):
            # Where nothing is needed behind it, it never tries again.
            continue
        before = path[:index]
        is_anchored = any(e.is_anchor for e in before) or not is_searched
        if (
            element.most >= _WIDE
            and not is_anchored
            and all(e.fits(element.characters) for e in before)
        ):
            yield f"its element {index + 1} begins anew wherever the text does"
        yield from _pairs(path, index)


def _pairs(path: Sequence[Element], index: int) -> Iterator[str]:
    """Two repeats that can share one text in many ways."""
    first = path[index]
    for later in range(index + 1, len(path)):
        second = path[later]
        is_left = first.cell != second.cell[: len(first.cell)]
        if is_left or not any(map(_is_needed, path[later + 1 :])):
            return
        shared = first.characters & second.characters
        between = path[index + 1 : later]
        # A bounded one behind many starts that are far apart costs little.
        is_bounded = min(first.most, second.most) < _WIDE
        is_far = is_bounded and len(between) > 4
        if second.most < _BROAD or not shared or is_far:
            continue
        if all(e.fits(shared) for e in between):
            yield f"its elements {index + 1} and {later + 1} can share a text"


def _is_needed(element: Element) -> bool:
    return element.is_anchor or any(element.alternatives)


def _nested(tree: Any, outer: int = 1) -> Iterator[str]:
    """A repeat in a repeat, unless something between its turns separates them."""
    for kind, value in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            _, most, body = value
            for inner in _repeats(body) if most >= _BROAD else ():
                marks = [s for s in _sets(body, 0) if not s & inner]
                if not marks:
                    yield "a repeat in a repeat"
            yield from _nested(body)
        elif kind is op.SUBPATTERN:
            yield from _nested(value[3])
        elif kind is op.ATOMIC_GROUP:
            yield from _nested(value)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _nested(branch)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            yield from _nested(value[1])


def _repeats(tree: Any) -> Iterator[frozenset[str]]:
    for kind, value in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            if value[1] >= _BROAD:
                yield frozenset().union(*_all_sets(value[2], 0))
            yield from _repeats(value[2])
        elif kind is op.SUBPATTERN:
            yield from _repeats(value[3])
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _repeats(branch)


def _sets(tree: Any, flags: int) -> list[frozenset[str]]:
    """What must be in every match, one after the other, as far as it is easily seen."""
    found = []
    for kind, value in tree:
        if kind is op.SUBPATTERN:
            found += _sets(value[3], flags)
        elif (known := _set(kind, value, flags)) is not None:
            found.append(known)
    return found


def _all_sets(tree: Any, flags: int) -> Iterator[frozenset[str]]:
    for path in _paths(tree, flags, ()):
        for element in path:
            yield element.characters


def _set(kind: Any, value: Any, flags: int) -> frozenset[str] | None:
    if kind is op.LITERAL:
        character = chr(value)
        both = {character.lower(), character.upper()}
        known = both if flags & re.IGNORECASE else {character}
        return frozenset(known if value < 128 else "\u00e9")
    if kind is op.NOT_LITERAL:
        return _ALPHABET - {chr(value)}
    if kind is op.ANY:
        return _ALPHABET if flags & re.DOTALL else _ALPHABET - {"\n"}
    if kind is op.IN:
        return _class(value, flags)
    return None


def _class(items: Any, flags: int) -> frozenset[str]:
    found: set[str] = set()
    is_negated = False
    for kind, value in items:
        if kind is op.NEGATE:
            is_negated = True
        elif kind is op.RANGE:
            found |= {c for c in _ALPHABET if value[0] <= ord(c) <= value[1]}
        elif kind is op.CATEGORY:
            found |= {c for c in _ALPHABET if re.match(_CATEGORIES[value], c)}
        else:
            found |= _set(kind, value, flags) or frozenset()
    return _ALPHABET - found if is_negated else frozenset(found)


def _paths(tree: Any, flags: int, cell: tuple[int, ...]) -> list[list[Element]]:
    """Every way through the alternatives, as rows of elements."""
    paths: list[list[Element]] = [[]]
    for number, (kind, value) in enumerate(tree):
        further = _ways(kind, value, flags, cell, number)
        paths = [path + way for path in paths for way in further]
        assert len(paths) <= _MOST_PATHS, "too many alternatives to look at"
    return paths


def _ways(
    kind: Any, value: Any, flags: int, cell: tuple[int, ...], number: int
) -> list[list[Element]]:
    if kind is op.AT:
        is_anchor = value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING)
        return [[Element(((),), cell=cell, is_anchor=is_anchor)]] if is_anchor else [[]]
    if kind is op.ASSERT_NOT and value[0] < 0:
        # What may stand before: where that is nothing, a match begins with the run.
        known = frozenset().union(*_all_sets(value[1], flags))
        return [[Element(((_ALPHABET - known,),), cell=cell)]]
    if kind in (op.ASSERT, op.ASSERT_NOT, op.GROUPREF):
        return [[]]
    if kind is op.SUBPATTERN:
        return _merged(_paths(value[3], flags | value[1], cell))
    if kind is op.ATOMIC_GROUP:
        return _merged(_paths(value, flags, (*cell, number)))
    if kind is op.BRANCH:
        return _merged([w for branch in value[1] for w in _paths(branch, flags, cell)])
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, body = value
        inside = (*cell, number) if kind is op.POSSESSIVE_REPEAT else cell
        if most < _BROAD:
            ways = _merged(_paths(body, flags, inside))
            return ways if least else [[], *ways]
        characters = frozenset().union(*_all_sets(body, flags))
        must = ((characters,),) if least else ((characters,), ())
        return [[Element(must, int(most), inside)]]
    known = _set(kind, value, flags)
    assert known is not None, f"an element that is not known: {kind}"
    return [[Element(((known,),), cell=cell)]]


def _merged(ways: list[list[Element]]) -> list[list[Element]]:
    """Those without repeats are one element with alternatives."""
    plain = [w for w in ways if all(e.most < _BROAD and not e.is_anchor for e in w)]
    if len(plain) < 2:
        return ways
    rows = tuple(
        row for way in plain for row in _rows([element.alternatives for element in way])
    )
    return [w for w in ways if w not in plain] + [
        [Element(rows, cell=plain[0][0].cell if plain[0] else ())]
    ]


def _rows(
    parts: Sequence[tuple[tuple[frozenset[str], ...], ...]],
) -> Iterator[tuple[frozenset[str], ...]]:
    if not parts:
        yield ()
        return
    for head in parts[0]:
        for tail in _rows(parts[1:]):
            yield (*head, *tail)
