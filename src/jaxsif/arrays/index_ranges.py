"""Parts of arrays as index ranges."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

# From and up to (excluded), for each dimension.
IndexRange = tuple[tuple[int, int], ...]


def index_range(index: Sequence[slice], shape: Sequence[int]) -> IndexRange:
    """What JAX's index of a shard, a tuple of slices, means in an array of that shape."""
    return tuple(
        part.indices(length)[:2] for part, length in zip(index, shape, strict=True)
    )


def as_index(box: IndexRange, origin: Sequence[int] = ()) -> tuple[slice, ...]:
    """As numpy takes it, counted from `origin`; by default from the array's own."""
    starts = origin or [0] * len(box)
    return tuple(
        slice(begin - start, end - start)
        for (begin, end), start in zip(box, starts, strict=True)
    )


def extents(box: IndexRange) -> tuple[int, ...]:
    """How long a box is in each dimension."""
    return tuple(end - begin for begin, end in box)


def volume(box: IndexRange) -> int:
    """How many elements a box has; a scalar's box, which has no dimension, has one."""
    return math.prod(extents(box))


def hull(boxes: Iterable[IndexRange]) -> IndexRange:
    """The smallest box around some."""
    return tuple(
        (min(begin for begin, _ in sides), max(end for _, end in sides))
        for sides in zip(*boxes, strict=True)
    )


def is_contiguous(boxes: Iterable[IndexRange]) -> bool:
    """Whether boxes that do not overlap, or are equal, fill the box around them."""
    distinct = set(boxes)
    return volume(hull(distinct)) == sum(map(volume, distinct))


def owners(
    boxes_of_process: Mapping[int, Iterable[IndexRange]],
) -> dict[IndexRange, int]:
    """For each box the lowest process that holds it, in the order of the boxes."""
    found: dict[IndexRange, int] = {}
    for process in sorted(boxes_of_process, reverse=True):
        for box in boxes_of_process[process]:
            found[box] = process
    return {box: found[box] for box in sorted(found)}


def in_words(box: IndexRange) -> str:
    """`[0:4, 0:8]`, as one would write it in Python; a scalar has no part."""
    sides = ", ".join(f"{begin}:{end}" for begin, end in box)
    return f"[{sides}]" if sides else "all of it"


def merged(boxes: Iterable[IndexRange]) -> list[IndexRange]:
    """Each of them once, or the one box that they fill together."""
    distinct = sorted(set(boxes))
    return [hull(distinct)] if distinct and is_contiguous(distinct) else distinct
