"""Compare the facts of all processes, and name the ranks that differ; without JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from jaxsif.core.text import format_ranks, listed, plural

# A value of one process: a digest, and a short text.
Fingerprint = tuple[str, str]


def differences(
    facts: Sequence[Mapping[str, str | Fingerprint]], nodes: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence for each fact that is not the same in all processes.

    Args:
      facts: by rank; a fact is a text, or a fingerprint, whose text may be shortened.
      nodes: by rank, the name of its node.
    """
    missing = ("", "not given")
    for name in dict.fromkeys(name for own in facts for name in own):
        values = [own.get(name, missing) for own in facts]
        pairs = [(v, v) if isinstance(v, str) else v for v in values]
        ranks_of: dict[str, list[int]] = defaultdict(list)
        for rank, (digest, _) in enumerate(pairs):
            ranks_of[digest].append(rank)
        if len(ranks_of) == 1:
            continue
        majority = Counter(digest for digest, _ in pairs).most_common(1)[0][0]
        # The majority last.
        groups = [*ranks_of.values()]
        groups.sort(key=lambda ranks: ranks is ranks_of[majority])
        texts = [f"{pairs[r[0]][1]} on {_format_ranks(r, nodes)}" for r in groups]
        yield f"{name} differs: {'; '.join(texts)}"


def _format_ranks(ranks: Sequence[int], nodes: Sequence[str]) -> str:
    """`rank 3 on node2`, `ranks 0-1 (node1)`"""
    if len(ranks) == 1:
        return f"rank {ranks[0]} on {nodes[ranks[0]]}"
    return f"{format_ranks(ranks)} ({listed(dict.fromkeys(nodes[r] for r in ranks))})"


def format_problems(problems: Sequence[str], nodes: Sequence[str]) -> str:
    """`rank 1 on node2: disk full (and 3 more ranks)`; both arguments by rank."""
    ranks = [rank for rank, problem in enumerate(problems) if problem]
    if not ranks:
        return ""
    first, more = ranks[0], len(ranks) - 1
    others = f" (and {plural(more, 'more rank')})" if more else ""
    return f"rank {first} on {nodes[first]}: {problems[first]}{others}"
