"""Messages about arrays and programs that are distributed over processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from jaxsif.arrays import index_ranges
from jaxsif.arrays.index_ranges import IndexRange
from jaxsif.core.text import MAX_NAMED, format_ranks, listed, not_shown, plural


def format_problems(problems: Sequence[str]) -> str:
    """`rank 1 on node2: disk full (and 3 more ranks)`, of the problems by rank.

    Each begins with the name of the node; an empty one is none.
    """
    bad = [(rank, text) for rank, text in enumerate(problems) if text]
    if not bad:
        return ""
    (rank, text), *more = bad
    others = f" (and {plural(len(more), 'more rank')})" if more else ""
    return f"rank {rank} on {text}{others}"


def holdings(boxes_of_process: Mapping[int, Sequence[IndexRange]]) -> Iterator[str]:
    """A line for each process, or one for all where all hold the same."""
    held = {process: index_ranges.merged(b) for process, b in boxes_of_process.items()}
    values = list(held.values())
    if len(held) > 1 and all(value == values[0] for value in values):
        yield f"each of {len(held)} ranks holds {_ranges(values[0])}"
        return
    for process, found in list(held.items())[:MAX_NAMED]:
        yield f"rank {process} holds {_ranges(found)}"
    yield from not_shown(MAX_NAMED, len(held), "rank")


def _ranges(found: Sequence[IndexRange]) -> str:
    return listed(map(index_ranges.in_words, found), between=" ")


# A value of one process: a digest, and a short text.
Word = tuple[str, str]


def differences(
    words: Sequence[Mapping[str, Word]], nodes: Sequence[str]
) -> Iterator[str]:
    """A sentence for each thing that is not the same in all processes.

    Args:
      words: by rank, the value of each thing.
      nodes: by rank, the name of its node.
    """
    missing: Word = ("", "not given")
    for name in dict.fromkeys(name for word in words for name in word):
        values = [word.get(name, missing) for word in words]
        by_digest: dict[str, list[int]] = defaultdict(list)
        for rank, (digest, _) in enumerate(values):
            by_digest[digest].append(rank)
        if len(by_digest) == 1:
            continue
        usual = Counter(digest for digest, _ in values).most_common(1)[0][0]
        others = by_digest.pop(usual)
        odd = "; ".join(
            f"{values[members[0]][1]} on {_with_nodes(members, nodes)}"
            for members in by_digest.values()
        )
        yield (
            f"{name} differs: {odd}; {values[others[0]][1]} on {_with_nodes(others, nodes)}"
        )


def _with_nodes(members: Sequence[int], nodes: Sequence[str]) -> str:
    """`rank 3 on node2`, `ranks 0-1 (node1)`"""
    if len(members) == 1:
        return f"rank {members[0]} on {nodes[members[0]]}"
    names = list(dict.fromkeys(nodes[rank] for rank in members))
    return f"{format_ranks(members)} ({listed(names)})"
