"""Checks of the ranks and of the group that they form."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence, group_by_value, ranks_of, where
from jaxsif.core.history import RankHistory
from jaxsif.core.records import ImportingRecord
from jaxsif.verdict.exits import has_reported_cause

# For a user's program: its exit status decides.
LEFT_QUIETLY = "left-quietly"


def independent_processes(case: StepEvidence) -> Iterator[Finding]:
    """Each process is its own group: the distributed system was not initialised."""
    if case.topology.processes == 1:
        return
    histories = case.histories.values()
    single = [s for s in histories if s.started and s.started.processes == 1]
    ungrouped = [s for s in histories if s.connected and s.connected.process_count == 1]
    if single:
        yield Finding(
            "independent-processes",
            f"{where(single)} started {sum(s.start_count for s in single)} times, each"
            f" time as the only process instead of one of {case.topology.processes}",
            "start with srun, and let its variables through to the program (no"
            " --cleanenv, no env -i)",
            ranks_of(single),
        )
    elif ungrouped:
        yield Finding(
            "independent-processes",
            f"{where(ungrouped)}: a group of one process instead of"
            f" {case.topology.processes}; these are independent runs of the same"
            " program",
            "call jax.distributed.initialize() before any other JAX function, and start"
            " with srun",
            ranks_of(ungrouped),
        )


def duplicate_ranks(case: StepEvidence) -> Iterator[Finding]:
    """Two programs reported as one rank, so the second may hide the first's fault."""
    duplicates = [
        s
        for s in case.histories.values()
        if s.start_count > 1 and s.started and s.started.processes != 1
    ]
    if duplicates:
        yield Finding(
            "duplicate-rank",
            f"{where(duplicates)} started more than once in one step",
            "run each program in its own step (one srun, one verdict); if there was"
            " only one program, start it with srun so that every process has its rank",
            ranks_of(duplicates),
        )


def unexpected_process_count(case: StepEvidence) -> Iterator[Finding]:
    """The launcher started a different number of processes than requested."""
    started = {s.started.processes for s in case.histories.values() if s.started}
    for number in sorted(started - {case.topology.processes}):
        yield Finding(
            "process-count",
            f"the step has {number} processes, {case.topology} requests"
            f" {case.topology.processes}",
            f"submit with --nodes={case.topology.nodes}"
            f" --ntasks-per-node={case.topology.processes_per_node}, or correct"
            " JAX_SIF_TOPOLOGY",
        )


def ranks_silent(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that stopped reporting before they connected, unlike all others."""
    by_place: dict[str, list[RankHistory]] = defaultdict(list)
    for rank in sorted(case.silent & case.histories.keys()):
        history = case.histories[rank]
        importing = history.last(ImportingRecord)
        is_importing = importing is not None and not importing.is_over
        last = "it started to import JAX" if is_importing else "`started`"
        by_place[last].append(history)
    waiting = len(case.histories) - len(case.silent)
    for place, silent in by_place.items():
        verb = "has" if len(silent) == 1 else "have"
        yield Finding(
            "rank-silent",
            f"{where(silent)} {verb} not reported since {place}; the other {waiting}"
            f" wait{_lost_nodes(case, silent)}",
            "the process is stopped, or its node is lost, disconnected or out of"
            " memory: check the node (sinfo, jax-sif doctor); JAX_SIF_HEARTBEAT_S sets"
            " the limit",
            ranks_of(silent),
        )


def _lost_nodes(case: StepEvidence, silent: list[RankHistory]) -> str:
    """Name the nodes on which no rank reports."""
    alive = {s.node for s in case.histories.values() if s.rank not in case.silent}
    lost = dict.fromkeys(
        history.node for history in silent if history.node not in alive
    )
    return f"; no rank of {', '.join(list(lost)[:8])} reports" if lost else ""


def launcher_hangs(case: StepEvidence) -> Iterator[Finding]:
    """Every rank is done, but the launcher had to be ended."""
    if case.has_launcher_hung:
        yield Finding(
            "launcher-hangs",
            "every rank is done, but srun did not exit and was ended; Slurm was not"
            " informed of the tasks' end by every node",
            "large packets may be lost between the nodes: compare their MTUs (ip link),"
            " try ping -M do -s 8000; check slurmd's log on the nodes",
        )


def ranks_missing(case: StepEvidence) -> Iterator[Finding]:
    """Requested ranks that never reported."""
    if case.end_from_outside:
        return
    nodes = case.all_nodes
    silent = [
        RankHistory(rank, nodes[case.topology.node_index(rank)])
        for rank in range(case.topology.processes)
        if rank not in case.histories
    ]
    if silent:
        yield Finding(
            "rank-missing",
            f"{len(silent)} of {case.topology.processes} ranks never reported:"
            f" {where(silent)}",
            "check srun's messages above; is the node up, does the image exist there?",
            ranks_of(silent),
        )


def unexpected_nodes(case: StepEvidence) -> Iterator[Finding]:
    """The ranks are distributed over the nodes differently from the request."""
    per_node = Counter(history.node for history in case.histories.values())
    full = len(case.histories) == case.topology.processes
    if full and set(per_node.values()) != {case.topology.processes_per_node}:
        spread = ", ".join(f"{n} on {node}" for node, n in sorted(per_node.items()))
        yield Finding(
            "node-count",
            f"the ranks are distributed as {spread}; {case.topology} requests"
            f" {case.topology.processes_per_node} on each of {case.topology.nodes}"
            " nodes",
            f"submit with --nodes={case.topology.nodes}"
            f" --ntasks-per-node={case.topology.processes_per_node}",
        )


def unexpected_group_size(case: StepEvidence) -> Iterator[Finding]:
    """A rank is in a group of the wrong size, or has the wrong process index."""
    for count, group in group_by_value(
        case.histories,
        lambda h: h.connected.process_count if h.connected else None,
        {1, case.topology.processes},
    ):
        yield Finding(
            "group-size",
            f"{where(group)}: in a group of {count} processes,"
            f" {case.topology.processes} were requested",
            "two steps may share a coordinator: let the image set JAX_COORDINATOR_PORT",
            ranks_of(group),
        )
    mismatched = [
        s
        for s in case.histories.values()
        if s.connected
        and s.connected.process_index != s.rank
        and s.connected.process_count != 1
    ]
    if mismatched:
        yield Finding(
            "rank-mismatch",
            f"{where(mismatched)}: JAX's process index differs from Slurm's rank",
            "do not pass process_id to jax.distributed.initialize()",
            ranks_of(mismatched),
        )


def ranks_unfinished(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that stopped between two phases without a report."""
    if case.end_from_outside:
        return
    if case.has_left_quietly:
        yield Finding(
            LEFT_QUIETLY,
            "the ranks left the group without a report, for example by os._exit(0)",
            "let the program run to its normal end, so that the verdict can confirm it",
            is_failure=False,
        )
        return
    by_phase: dict[str, list[RankHistory]] = defaultdict(list)
    for history in case.histories.values():
        is_named = history.rank in case.silent
        if not history.is_done and not is_named and not has_reported_cause(history):
            by_phase[history.phase].append(history)
    for phase, group in by_phase.items():
        yield Finding(
            "rank-incomplete",
            f"{where(group)} did not finish; last phase: {phase!r}",
            "if another finding names a rank, this is its consequence; otherwise check"
            " srun's messages above",
            ranks_of(group),
        )
