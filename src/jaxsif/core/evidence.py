"""What a check is given and what it finds; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxsif.core.history import Histories, RankExit
from jaxsif.core.hostlist import expand
from jaxsif.core.records import DEADLINE_EXCEEDED, FAILED, TERMINATED
from jaxsif.core.topology import Topology

if TYPE_CHECKING:
    from jaxsif.bandwidth.baseline import Baseline
    from jaxsif.logs.diagnosis import LogCause


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what and where, what to do, and which ranks it names."""

    kind: str
    text: str
    remedy: str
    ranks: tuple[int, ...] = ()
    # False: nothing is known to be wrong, but nothing proves that it is right either.
    is_failure: bool = True
    # True: all is right, and something is not as good as it should be.
    is_warning: bool = False


@dataclass(frozen=True)
class StepEvidence:
    """What was asked for, and all that is known of what happened.

    `ended` is what srun said of ranks that ended badly, the first to end first; `nodes`
    are the names in Slurm's order, as far as they are known.
    """

    topology: Topology
    histories: Histories
    ended: Mapping[int, RankExit]
    nodes: Sequence[str] = ()
    # Who ended the step from outside, in a clause.
    cancelled: str | None = None
    # What the lines between the records say, by the catalogue of causes.
    recognised: Sequence[LogCause] = ()
    # A user's program, which need not use the kit.
    is_program: bool = False
    # Speeds that were seen when all was well, if somebody has learned them.
    baseline: Baseline | None = None
    # Ranks that stopped reporting before they had connected, while all others went on.
    silent: frozenset[int] = frozenset()
    # Whether the launcher had to be ended although all ranks were done.
    has_launcher_hung: bool = False
    # Whether we ended the launcher, which then may not have said how its tasks ended.
    has_ended_launcher: bool = False
    # Nodes that Slurm has given up.
    failed_nodes: Sequence[str] = ()
    # Why the verdict was asked for before the output had ended, in a clause.
    interrupted: str | None = None

    @property
    def is_without_kit(self) -> bool:
        """Whether no rank uses the kit, so that nothing but its end can be judged."""
        has_started = any(
            "started" in history.told for history in self.histories.values()
        )
        return self.is_program and not has_started

    @property
    def has_left_quietly(self) -> bool:
        """Whether all ranks of a user's program left the group without a word.

        So do those that end by os._exit(0). Of any other end srun says so itself.
        """
        if not self.is_program or self.ended or self.cancelled or self.silent:
            return False
        histories = self.histories.values()
        return len(histories) >= self.topology.processes and all(
            "connected" in history.told and _HAS_ENDED.isdisjoint(history.told)
            for history in histories
        )

    @property
    def has_failed(self) -> bool:
        """Whether something went wrong, by what ranks and Slurm say of their ends."""
        if self.has_left_quietly:
            return False
        is_whole = len(self.histories) >= self.topology.processes
        done = all(history.is_done for history in self.histories.values())
        return bool(self.ended) or not (is_whole and done)

    @property
    def end_from_outside(self) -> str | None:
        """Who ended the step, in a clause: no rank is the cause of what follows."""
        if self.failed_nodes:
            return None
        return self.cancelled or (self.interrupted if self.has_failed else None)

    @property
    def all_nodes(self) -> Sequence[str]:
        """A name for every node that was asked for, if only its place in the list."""
        count = self.topology.nodes
        if len(self.nodes) == count:
            return self.nodes
        # All ranks tell the same, so it is spelled out once and not for each of them.
        told = {history.fact("started", "nodes") for history in self.histories.values()}
        for nodes in map(_expand_or_empty, told):
            if len(nodes) == count:
                return nodes
        return [f"node {i + 1} of {count}" for i in range(count)]


_HAS_ENDED = {"done", FAILED, DEADLINE_EXCEEDED, TERMINATED}

Check = Callable[[StepEvidence], Iterator[Finding]]


def _expand_or_empty(node_list: object) -> Sequence[str]:
    try:
        return expand(node_list) if isinstance(node_list, str) else ()
    except ValueError:
        return ()
