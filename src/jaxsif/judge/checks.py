"""Every way in which what the ranks saw can differ from what was asked; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsif.contract.hostlist import expand
from jaxsif.contract.record import FAILED
from jaxsif.contract.topology import Topology
from jaxsif.judge.board import Ending, Stories, Story

# No line of a verdict lists more ranks than a person reads.
_MOST_NAMED = 8


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


def find(case: Case) -> list[Finding]:
    """All findings, first causes before what follows from them."""
    return [finding for check in CHECKS for finding in check(case)]


def programs_failed(case: Case) -> Iterator[Finding]:
    """An exception in a rank's program."""
    by_error: dict[str, list[Story]] = defaultdict(list)
    for story in _by_time(case.stories.values(), FAILED):
        by_error[str(story.fact(FAILED, "error"))].append(story)
    for error, failed in by_error.items():
        yield Finding(
            "program-failed",
            f"{where(failed)} ended in an exception: {error}",
            "its traceback is in the output above",
            _ranks(failed),
        )


def ranks_ended(case: Case) -> Iterator[Finding]:
    """A rank that ended badly, by srun's own word, and did not say why itself."""
    # The first alone: srun ends the others for its sake.
    for ending in list(case.ended.values())[:1]:
        silent = [
            case.stories.get(rank, Story(rank, ending.node))
            for rank in ending.ranks
            if not _has_told_why(case.stories.get(rank))
        ]
        if silent:
            yield Finding(
                "rank-ended",
                f"{where(silent)}: {ending.reason}, says srun",
                "its last lines are in the output above",
                _ranks(silent),
            )


def processes_differ(case: Case) -> Iterator[Finding]:
    """The launcher started another number of processes than the topology has."""
    started = {s.fact("started", "processes") for s in case.stories.values()} - {None}
    for number in sorted(started - {case.topology.processes}):
        yield Finding(
            "process-count",
            f"the step has {number} processes, {case.topology} asks for"
            f" {case.topology.processes}",
            f"submit with --nodes={case.topology.nodes}"
            f" --ntasks-per-node={case.topology.processes_per_node}, or correct"
            " JAX_SIF_TOPOLOGY",
        )


def ranks_missing(case: Case) -> Iterator[Finding]:
    """Ranks that were asked for and never reported."""
    nodes = case.all_nodes
    silent = [
        Story(rank, nodes[case.topology.node_index(rank)])
        for rank in range(case.topology.processes)
        if rank not in case.stories
    ]
    if silent:
        yield Finding(
            "rank-missing",
            f"{len(silent)} of {case.topology.processes} ranks never reported:"
            f" {where(silent)}",
            "look above for what srun says of them; is the node up, is the image there?",
            _ranks(silent),
        )


def nodes_differ(case: Case) -> Iterator[Finding]:
    """The ranks are spread over the nodes in another way than was asked."""
    per_node = Counter(story.node for story in case.stories.values())
    full = len(case.stories) == case.topology.processes
    if full and set(per_node.values()) != {case.topology.processes_per_node}:
        spread = ", ".join(f"{n} on {node}" for node, n in sorted(per_node.items()))
        yield Finding(
            "node-count",
            f"the ranks are spread as {spread}; {case.topology} asks for"
            f" {case.topology.processes_per_node} on each of {case.topology.nodes} nodes",
            f"submit with --nodes={case.topology.nodes}"
            f" --ntasks-per-node={case.topology.processes_per_node}",
        )


def ranks_alone(case: Case) -> Iterator[Finding]:
    """Every process is a group of its own: nobody initialised the distributed system."""
    if case.topology.processes == 1:
        return
    alone = [
        s for s in case.stories.values() if s.fact("connected", "process_count") == 1
    ]
    if alone:
        yield Finding(
            "independent-runs",
            f"{where(alone)}: a group of one process, where {case.topology.processes} belong"
            " together; these are independent runs of the same program",
            "call jax.distributed.initialize() before anything else of JAX, and start"
            " with srun",
            _ranks(alone),
        )


def groups_differ(case: Case) -> Iterator[Finding]:
    """A rank is in a group of another size, or is not the process it should be."""
    for count, group in _differing(
        case.stories, "connected", "process_count", {1, case.topology.processes}
    ):
        yield Finding(
            "group-size",
            f"{where(group)}: in a group of {count} processes,"
            f" {case.topology.processes} were asked for",
            "two steps may share a coordinator: let the image set JAX_COORDINATOR_PORT",
            _ranks(group),
        )
    swapped = [
        s
        for s in case.stories.values()
        if s.fact("connected", "process_index") not in (None, s.rank)
        and s.fact("connected", "process_count") != 1
    ]
    if swapped:
        yield Finding(
            "rank-swapped",
            f"{where(swapped)}: JAX numbers the process differently than Slurm does",
            "do not pass process_id to jax.distributed.initialize()",
            _ranks(swapped),
        )


def platform_differs(case: Case) -> Iterator[Finding]:
    """CPU where GPUs were asked, or the other way round."""
    by_platform: dict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in case.stories.values():
        asked, got = story.fact("started", "platform"), story.fact("devices", "backend")
        if got is not None and got != asked:
            by_platform[(str(asked), str(got))].append(story)
    for (asked, got), group in by_platform.items():
        yield Finding(
            "platform",
            f"{where(group)}: JAX runs on {got}, {asked} was asked for",
            "start the container with --nv on a node with GPUs; unset JAX_PLATFORMS",
            _ranks(group),
        )


def local_devices_differ(case: Case) -> Iterator[Finding]:
    """A process has more or fewer devices than its share."""
    by_count: dict[int, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        local = story.fact("devices", "local")
        if local is not None and len(local) != case.topology.devices_per_process:
            by_count[len(local)].append(story)
    for count, group in by_count.items():
        yield Finding(
            "local-devices",
            f"{where(group)}: {count} local devices,"
            f" {case.topology.devices_per_process} expected",
            f"submit with --gpus-per-node={case.topology.devices_per_node}; JAX_SIF_VERBOSE=1"
            " shows how the image shares them out",
            _ranks(group),
        )


def total_differs(case: Case) -> Iterator[Finding]:
    """A group has more or fewer devices in all than was asked."""
    for total, group in _differing(
        case.stories, "devices", "total", {case.topology.devices}
    ):
        yield Finding(
            "total-devices",
            f"{where(group)}: {total} devices in all, {case.topology.devices} expected",
            "see the findings above; the group is not the one that was asked for",
            _ranks(group),
        )


def devices_shared(case: Case) -> Iterator[Finding]:
    """Two ranks, or two devices of one, are the same physical GPU."""
    holders: dict[str, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        for device in story.fact("devices", "local") or ():
            if device.get("uuid"):
                holders[device["uuid"]].append(story)
    for uuid, group in holders.items():
        if len(group) > 1:
            yield Finding(
                "device-shared",
                f"{where(group)}: the same GPU {uuid}",
                "do not set JAX_LOCAL_DEVICE_IDS or CUDA_VISIBLE_DEVICES for all ranks"
                " alike; ask for as many GPUs as there are processes",
                _ranks(group),
            )


def versions_differ(case: Case) -> Iterator[Finding]:
    """The ranks do not all run the same software."""
    for phase, name, what in _VERSIONS:
        by_value: dict[Any, list[Story]] = defaultdict(list)
        for story in case.stories.values():
            if phase in story.told:
                by_value[story.fact(phase, name)].append(story)
        if len(by_value) < 2:
            continue
        *few, (common, _) = sorted(by_value.items(), key=lambda item: len(item[1]))
        for value, group in few:
            yield Finding(
                f"{name}-differs",
                f"{where(group)}: {what} {value}, the other ranks have {common}",
                "start every rank with the same $JAX_IMAGE; copies of it on the nodes"
                " may be stale",
                _ranks(group),
            )


_VERSIONS = (
    ("started", "image", "image"),
    ("connected", "jax", "JAX"),
    ("connected", "jaxlib", "jaxlib"),
    ("devices", "nccl", "NCCL"),
)


def sums_wrong(case: Case) -> Iterator[Finding]:
    """The all-reduce of ones gave another number than there are devices."""
    by_sum: dict[float, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        got = story.fact("allreduce", "got")
        if got is not None and (
            got != case.topology.devices or story.fact("allreduce", "wrong")
        ):
            by_sum[got].append(story)
    for got, group in by_sum.items():
        yield Finding(
            "wrong-sum",
            f"{where(group)}: the all-reduce of ones gave {got:g},"
            f" {case.topology.devices} expected",
            "do not trust results of this allocation; see which ranks are foreign or"
            " missing",
            _ranks(group),
        )


def identity_foreign(case: Case) -> Iterator[Finding]:
    """A peer contributed what no rank of this run can have contributed."""
    witnesses = [s for s in case.stories.values() if s.fact("identity", "foreign")]
    if not witnesses:
        return
    accusers = Counter(
        rank
        for story in witnesses
        for rank in {slot[0] for slot in story.fact("identity", "slots")}
    )
    # A rank that computes wrongly also accuses the others, alone against many.
    accused = {rank for rank, n in accusers.items() if n == max(accusers.values())}
    peers = [case.stories.get(r, Story(r, "unknown")) for r in sorted(accused)]
    yield Finding(
        "foreign-identity",
        f"{where(witnesses)}: the all-reduce holds a contribution that is not this"
        f" run's in the place of {where(peers)}",
        "another step or job answers in that rank's place (do two steps share"
        " JAX_COORDINATOR_PORT?), or its device computes wrongly; do not trust results",
        tuple(sorted(accused)),
    )


def ranks_unfinished(case: Case) -> Iterator[Finding]:
    """Ranks that stopped between two phases without a word."""
    by_phase: dict[str, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        if not story.is_done and FAILED not in story.told:
            by_phase[story.phase].append(story)
    for phase, group in by_phase.items():
        yield Finding(
            "unfinished",
            f"{where(group)} did not finish; the last phase told was {phase!r}",
            "if another finding names a rank, this follows from it; otherwise look"
            " above for what srun says",
            _ranks(group),
        )


def identity_unproven(case: Case) -> Iterator[Finding]:
    """A rank finished without the one measurement that proves who its peers were."""
    silent = [
        s for s in case.stories.values() if s.is_done and "identity" not in s.told
    ]
    if silent:
        yield Finding(
            "identity-unproven",
            f"{where(silent)} finished without proving its peers",
            "let the program call prove_identity() as diag/allreduce.py does",
            _ranks(silent),
            is_failure=False,
        )


# Causes first: each check may assume that the reader has seen those before it.
CHECKS: tuple[Check, ...] = (
    programs_failed,
    ranks_ended,
    ranks_alone,
    processes_differ,
    ranks_missing,
    nodes_differ,
    groups_differ,
    platform_differs,
    devices_shared,
    local_devices_differ,
    total_differs,
    versions_differ,
    identity_foreign,
    sums_wrong,
    ranks_unfinished,
    identity_unproven,
)


def where(stories: Sequence[Story]) -> str:
    """`rank 5 on node2`, `ranks 4-7 on node2`, `ranks 0-3 on node1, 4-7 on node2`."""
    by_node: dict[str, list[int]] = defaultdict(list)
    for story in stories:
        by_node[story.node].append(story.rank)
    named = list(by_node.items())[:_MOST_NAMED]
    text = ", ".join(f"{_numbers(ranks)} on {node}" for node, ranks in named)
    more = len(by_node) - len(named)
    plural = "s" if len(stories) > 1 else ""
    return f"rank{plural} {text}" + (f" and {more} more nodes" if more else "")


def _numbers(ranks: Iterable[int]) -> str:
    """`0-3, 7`"""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    named = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:_MOST_NAMED]]
    return ", ".join(named) + (", ..." if len(runs) > _MOST_NAMED else "")


def _has_told_why(story: Story | None) -> bool:
    return story is not None and (
        FAILED in story.told
        or bool(story.fact("allreduce", "wrong") or story.fact("identity", "foreign"))
    )


def _ranks(stories: Iterable[Story]) -> tuple[int, ...]:
    return tuple(sorted({story.rank for story in stories}))


def _by_time(stories: Iterable[Story], phase: str) -> list[Story]:
    told = [story for story in stories if phase in story.told]
    return sorted(told, key=lambda story: (story.fact(phase, "time"), story.rank))


def _differing(
    stories: Stories, phase: str, name: str, expected: set[Any]
) -> Iterator[tuple[Any, list[Story]]]:
    by_value: dict[Any, list[Story]] = defaultdict(list)
    for story in stories.values():
        value = story.fact(phase, name)
        if value is not None and value not in expected:
            by_value[value].append(story)
    yield from by_value.items()


def _expand_or_nothing(node_list: object) -> Sequence[str]:
    try:
        return expand(node_list) if isinstance(node_list, str) else ()
    except ValueError:
        return ()
