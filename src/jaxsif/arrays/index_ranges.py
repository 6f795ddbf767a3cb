"""The part of an array that a device or process holds, as index ranges."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.core.text import MAX_NAMED, listed, not_shown

# Begin and end (excluded) in each dimension.
IndexRange = tuple[tuple[int, int], ...]


def from_index(index: Sequence[slice], shape: Sequence[int]) -> IndexRange:
    """Convert JAX's index of a shard, a tuple of slices, in an array of that shape."""
    return tuple(
        part.indices(length)[:2] for part, length in zip(index, shape, strict=True)
    )


def to_index(part: IndexRange, origin: Sequence[int] = ()) -> tuple[slice, ...]:
    """Convert to a numpy index, relative to `origin` (default: the array's own)."""
    starts = origin or [0] * len(part)
    return tuple(
        slice(begin - start, end - start)
        for (begin, end), start in zip(part, starts, strict=True)
    )


def extents(part: IndexRange) -> tuple[int, ...]:
    """The length in each dimension."""
    return tuple(end - begin for begin, end in part)


def volume(part: IndexRange) -> int:
    """The number of elements; 1 for a scalar, which has no dimension."""
    return math.prod(extents(part))


def bounding_range(parts: Iterable[IndexRange]) -> IndexRange:
    """The smallest range that contains all parts."""
    return tuple(
        (min(begin for begin, _ in sides), max(end for _, end in sides))
        for sides in zip(*parts, strict=True)
    )


def is_contiguous(parts: Iterable[IndexRange]) -> bool:
    """Whether parts that are disjoint or equal fill their bounding range."""
    distinct = set(parts)
    return volume(bounding_range(distinct)) == sum(map(volume, distinct))


def coalesce(parts: Iterable[IndexRange]) -> list[IndexRange]:
    """Each part once, or the one range that they fill together."""
    distinct = sorted(set(parts))
    is_one = distinct and is_contiguous(distinct)
    return [bounding_range(distinct)] if is_one else distinct


def owners(parts_of: Mapping[int, Iterable[IndexRange]]) -> dict[IndexRange, int]:
    """The lowest process that holds each part, in the order of the parts."""
    owner: dict[IndexRange, int] = {}
    for process in sorted(parts_of, reverse=True):
        for part in parts_of[process]:
            owner[part] = process
    return {part: owner[part] for part in sorted(owner)}


def format_range(part: IndexRange) -> str:
    """`[0:4, 0:8]`, as in Python; a scalar has no range."""
    sides = ", ".join(f"{begin}:{end}" for begin, end in part)
    return f"[{sides}]" if sides else "all of it"


def describe_ownership(parts_of: Mapping[int, Sequence[IndexRange]]) -> Iterator[str]:
    """Yield a line for each process, or one for all if all hold the same parts."""
    ranges_of = {rank: coalesce(parts_of[rank]) for rank in parts_of}
    ranges = list(ranges_of.values())
    if len(ranges) > 1 and all(own == ranges[0] for own in ranges):
        yield f"each of {len(ranges)} ranks holds {_format_ranges(ranges[0])}"
        return
    for rank, own in list(ranges_of.items())[:MAX_NAMED]:
        yield f"rank {rank} holds {_format_ranges(own)}"
    yield from not_shown(MAX_NAMED, len(ranges), "rank")


def _format_ranges(ranges: Sequence[IndexRange]) -> str:
    return listed(map(format_range, ranges), between=" ")
