"""What a check is given and what it finds; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxsif.contract.hostlist import expand
from jaxsif.contract.topology import Topology
from jaxsif.judge.board import Ending, Stories


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what and where, what to do, and which ranks it names."""

    kind: str
    text: str
    remedy: str
    ranks: tuple[int, ...] = ()
    # False: nothing is known to be wrong, but nothing proves that it is right either.
    is_failure: bool = True


@dataclass(frozen=True)
class Case:
    """What was asked for, and all that is known of what happened.

    `ended` is what srun said of ranks that ended badly, the first to end first; `nodes`
    are the names in Slurm's order, as far as they are known.
    """

    topology: Topology
    stories: Stories
    ended: Mapping[int, Ending]
    nodes: Sequence[str] = ()

    @property
    def all_nodes(self) -> Sequence[str]:
        """A name for every node that was asked for, if only its place in the list."""
        count = self.topology.nodes
        told = (story.fact("started", "nodes") for story in self.stories.values())
        for nodes in (self.nodes, *map(_expand_or_nothing, told)):
            if len(nodes) == count:
                return nodes
        return [f"node {i + 1} of {count}" for i in range(count)]


Check = Callable[[Case], Iterator[Finding]]


def _expand_or_nothing(node_list: object) -> Sequence[str]:
    try:
        return expand(node_list) if isinstance(node_list, str) else ()
    except ValueError:
        return ()
