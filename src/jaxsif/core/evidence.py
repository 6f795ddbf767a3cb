"""Input and output of the checks: StepEvidence and Finding."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from jaxsif.core.history import Histories, RankExit
from jaxsif.core.hostlist import expand
from jaxsif.core.records import DEADLINE_EXCEEDED, FAILED, TERMINATED
from jaxsif.core.text import MAX_FINDINGS, not_shown
from jaxsif.core.topology import Topology

if TYPE_CHECKING:
    from jaxsif.bandwidth.baseline import Baseline
    from jaxsif.bandwidth.results import BandwidthResults
    from jaxsif.hang.group import Hang
    from jaxsif.logs.diagnosis import LogCause
    from jaxsif.pairs.results import PairResults
from collections import defaultdict
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, TypeVar

from jaxsif.core.history import RankHistory
from jaxsif.core.text import (
    MAX_ROWS,
    format_ranks_and_nodes,
    format_table,
)

if TYPE_CHECKING:
    from jaxsif.core.verdict_file import RankReport

# A speed below the first part of the expected or median one is a warning, below the
# second a failure.
WARN_RATIO, FAIL_RATIO = 0.85, 0.70


class Finding(msgspec.Struct, frozen=True):
    """A problem: what and where it is, its remedy, and the ranks it names."""

    kind: str
    text: str
    remedy: str
    ranks: tuple[int, ...] = ()
    # False: inconclusive; nothing is known to be wrong, and nothing is proven.
    is_failure: bool = True
    # True: correct, but not as good as it should be.
    is_warning: bool = False

    @property
    def actions(self) -> list[str]:
        """The lines of the remedy, one per action."""
        lines = self.remedy.splitlines()
        return [line.strip().removeprefix("-> ") for line in lines]


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """The findings as numbered lines, each with its remedy below it."""
    lines = []
    for number, finding in enumerate(findings[:MAX_FINDINGS], 1):
        sign = "warning: " if finding.is_warning else ""
        lines.append(f"{number}. {sign}{finding.text}")
        lines += [f"   -> {action}" for action in finding.actions]
    return [*lines, *not_shown(MAX_FINDINGS, len(findings), "finding")]


@dataclass(frozen=True)
class StepEvidence:
    """The requested topology, and all that is known about the step.

    `ended` are the failed ranks according to srun, in order of time; `nodes` are the
    names in Slurm's order, if known.
    """

    topology: Topology
    histories: Histories
    ended: Mapping[int, RankExit]
    nodes: Sequence[str] = ()
    # Why the step was ended from outside, in a clause.
    cancelled: str | None = None
    # Causes found in the lines between the records, by the catalogue.
    recognised: Sequence[LogCause] = ()
    # A user's program, which need not use the kit.
    is_program: bool = False
    # The performance baseline, if there is one.
    baseline: Baseline | None = None
    # Ranks that stopped reporting before they had connected, while all others went on.
    silent: frozenset[int] = frozenset()
    # Whether the launcher had to be ended although all ranks were done.
    has_launcher_hung: bool = False
    # Whether we ended the launcher, which then may not have reported how its tasks
    # ended.
    has_ended_launcher: bool = False
    # Nodes that failed according to Slurm.
    failed_nodes: Sequence[str] = ()
    # Why the verdict was requested before the output ended, in a clause.
    interrupted: str | None = None
    # The measurements, computed once for all checks and reports.
    bandwidth: BandwidthResults | None = None
    pairs: PairResults | None = None
    # No rank made progress, so that the step was ended or a warning was given.
    hang: Hang | None = None

    @property
    def is_without_kit(self) -> bool:
        """Whether no rank uses the kit, so that only its exits can be checked."""
        has_started = any(history.started for history in self.histories.values())
        return self.is_program and not has_started

    @property
    def has_left_quietly(self) -> bool:
        """Whether all ranks of a user's program ended without a report of their exit.

        os._exit(0) does that. srun reports any other failure.
        """
        if not self.is_program or self.ended or self.cancelled or self.silent:
            return False
        histories = self.histories.values()
        return len(histories) >= self.topology.processes and all(
            history.connected and _HAS_ENDED.isdisjoint(history.phases)
            for history in histories
        )

    @property
    def has_failed(self) -> bool:
        """Whether something failed, according to the ranks' and Slurm's reports."""
        if self.has_left_quietly:
            return False
        is_whole = len(self.histories) >= self.topology.processes
        done = all(history.is_done for history in self.histories.values())
        return bool(self.ended) or not (is_whole and done)

    @property
    def end_from_outside(self) -> str | None:
        """Why the step was ended from outside, in a clause: no rank is the cause."""
        if self.failed_nodes:
            return None
        return self.cancelled or (self.interrupted if self.has_failed else None)

    @property
    def all_nodes(self) -> Sequence[str]:
        """A name for every requested node, or its position if names are unknown."""
        count = self.topology.nodes
        if len(self.nodes) == count:
            return self.nodes
        # All ranks report the same list; expand it once.
        lists = {
            history.started.nodes
            for history in self.histories.values()
            if history.started and history.started.nodes
        }
        for nodes in map(_expand_or_empty, lists):
            if len(nodes) == count:
                return nodes
        return [f"node {i + 1} of {count}" for i in range(count)]


_HAS_ENDED = {"done", FAILED, DEADLINE_EXCEEDED, TERMINATED}

Check = Callable[[StepEvidence], Iterator[Finding]]


def _expand_or_empty(node_list: str) -> Sequence[str]:
    try:
        return expand(node_list)
    except ValueError:
        return ()


T = TypeVar("T")


def where(histories: Sequence[RankHistory]) -> str:
    """`rank 5 on node2`, `ranks 4-7 on node2`, `ranks 0-3 on node1, 4-7 on node2`."""
    return format_ranks_and_nodes((history.rank, history.node) for history in histories)


def ranks_of(histories: Iterable[RankHistory]) -> tuple[int, ...]:
    """The ranks' numbers, unique and sorted."""
    return tuple(sorted({history.rank for history in histories}))


def sorted_by_arrival(
    histories: Iterable[RankHistory], phase: str
) -> list[RankHistory]:
    """The ranks that reported a phase, in order of arrival."""
    reporting = [history for history in histories if phase in history.phases]
    return sorted(reporting, key=lambda history: history.arrival[phase])


def group_by_value(
    histories: Histories,
    value_of: Callable[[RankHistory], T | None],
    expected: set[T],
) -> Iterator[tuple[T, list[RankHistory]]]:
    """Each unexpected value, with its ranks; None is no value."""
    by_value: dict[T, list[RankHistory]] = defaultdict(list)
    for history in histories.values():
        value = value_of(history)
        if value is not None and value not in expected:
            by_value[value].append(history)
    yield from by_value.items()


def rank_table(
    ranks: Sequence[RankHistory | RankReport],
    named_ranks: Container[int],
    limit: int = MAX_ROWS,
) -> list[str]:
    """The ranks, their devices and last phases as lines; none without ranks.

    Of more than `limit` ranks only those that findings name or that are not done.
    """
    if not ranks:
        return []
    shown = list(ranks)
    if len(shown) > limit:
        shown = [r for r in shown if r.rank in named_ranks or not r.is_done][:limit]
    rows = [("rank", "node", "local devices", "last phase")]
    rows += [(str(r.rank), r.node, _devices(r), r.phase) for r in shown]
    table = format_table(rows) if shown else []
    return [*table, *not_shown(len(shown), len(ranks), "rank")]


def _devices(rank: RankHistory | RankReport) -> str:
    if rank.devices is None:
        return "-"
    local, count = rank.devices.local_devices, rank.devices.local_count
    names = [device.uuid or f"id {device.id}" for device in local]
    more = f" and {count - len(local)} more" if count > len(local) else ""
    return f"{count}: {', '.join(names)}{more}"
