"""Checks for wrong elements, for low bandwidth, and for stragglers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.bandwidth import hardware
from jaxsif.bandwidth.hardware import NodeHardware
from jaxsif.bandwidth.results import BandwidthResults, Point, RatedPoint
from jaxsif.core.evidence import FAIL_RATIO, Finding, StepEvidence, ranks_of, where
from jaxsif.core.records import Reported, TransportRecord
from jaxsif.core.text import plural
from jaxsif.core.topology import Topology

# A straggler takes this many times as long as the others, at nearly every size.
_STRAGGLER_RATIO = 1.5
_STRAGGLER_SHARE = 0.75
_MIN_POINTS = 3
# A larger spread of the trials is reported.
_STEADY_SPREAD = 0.15
# Times of smaller messages depend mostly on the operating system.
_MIN_BYTES = 2**16
# NCCL over TCP reaches no more than this, on any network (GB/s).
_TCP_GB_PER_S = 6.0
# Without GPUDirect RDMA, or with the card behind the CPU: 16 of 25 GB/s.
_NO_GPUDIRECT = (0.55, 0.75)
_TOLERANCE = 0.06
_HINT_RDMA = (
    "does the container see /dev/infiniband, is NCCL_IB_DISABLE unset, does"
    " NCCL_SOCKET_IFNAME or NCCL_IB_HCA name existing devices? NCCL_DEBUG=INFO shows it"
)
_HINT_GPUDIRECT = (
    "is the module nvidia_peermem loaded on the nodes, and does each card hang off the"
    " same PCIe switch as its GPU? nvidia-smi topo -m shows it"
)
_HINT_COMPARE = (
    "compare with a run on other nodes; NCCL_DEBUG=INFO shows rings and networks, and"
    " jax-sif doctor on each node its links"
)
_HINT_LOAD = (
    "is something else running on these nodes? Compare with a run on others, and learn"
    " the baseline from several runs"
)
_HINT_ALL_NICS = (
    "does NCCL_IB_HCA name all cards, and does the container see them all?"
    " NCCL_DEBUG=INFO lists those in use"
)


def wrong_elements(evidence: StepEvidence) -> Iterator[Finding]:
    """Collectives delivered values that differ from those sent."""
    corrupt_points = [point for point in _points(evidence) if any(point.wrong.values())]
    if not corrupt_points:
        return
    ranks = sorted({rank for point in corrupt_points for rank in _receivers(point)})
    count = sum(sum(point.wrong.values()) for point in corrupt_points)
    more = len(corrupt_points) - 1
    also = f" and {plural(more, 'more result')}" if more else ""
    names = where([evidence.histories[rank] for rank in ranks])
    verb = "are" if count > 1 else "is"
    yield Finding(
        "data-corrupt-collective",
        f"{names}: {plural(count, 'element')} of {corrupt_points[0].description}{also}"
        f" {verb} not what was sent"
        f"{_common_receivers(evidence, corrupt_points, len(ranks))}",
        "do not trust results from this allocation; a device, link or memory corrupts"
        " data: run jax-sif doctor on these nodes, then repeat on fewer nodes",
        tuple(ranks),
    )


def _points(evidence: StepEvidence) -> Sequence[Point]:
    return evidence.bandwidth.points if evidence.bandwidth else ()


def _receivers(point: Point) -> list[int]:
    return [rank for rank, count in point.wrong.items() if count]


def _common_receivers(
    evidence: StepEvidence, corrupt_points: Sequence[Point], all_ranks: int
) -> str:
    """Describe the result that is wrong on the fewest ranks, nearest to the fault."""
    nearest = min(corrupt_points, key=lambda point: len(_receivers(point)))
    receivers = _receivers(nearest)
    if len(receivers) == all_ranks:
        return ""
    text = (
        f"; of {nearest.description} only what"
        f" {where([evidence.histories[rank] for rank in receivers])} received"
    )
    topology = evidence.topology
    if nearest.collective != "send-recv" or topology.devices != topology.processes:
        return text
    senders = {(rank - 1) % topology.processes for rank in receivers}
    known = [
        evidence.histories[rank]
        for rank in sorted(senders)
        if rank in evidence.histories
    ]
    return f"{text} from {where(known)}"


def bandwidth_low(evidence: StepEvidence) -> Iterator[Finding]:
    """Speeds are below what the hardware, or an earlier run, is known to reach."""
    results = evidence.bandwidth
    if results is None or evidence.has_failed:
        return
    # Results with the same likely cause are reported once, failures before warnings.
    by_cause: dict[tuple[bool, str, str], list[RatedPoint]] = defaultdict(list)
    for point in results.rated:
        if not point.is_good:
            is_failure = (point.ratio or 0.0) < FAIL_RATIO
            cause, remedy = _likely_cause(
                point, evidence.topology, results, evidence.histories
            )
            by_cause[is_failure, cause, remedy].append(point)
    for (is_failure, cause, remedy), group in sorted(
        by_cause.items(), key=lambda item: not item[0][0]
    ):
        yield Finding(
            "bandwidth-low", _too_slow(group, cause), remedy, is_warning=not is_failure
        )


def _likely_cause(
    measured: RatedPoint,
    topology: Topology,
    results: BandwidthResults,
    ranks: Mapping[int, Reported],
) -> tuple[str, str]:
    """The likely cause of a low speed, and the remedy; observed facts before guesses.

    Returns text for the finding, which may be empty, and the remedy.
    """
    nodes = results.nodes
    down = [
        f"{nic.name} on {node.name}"
        for node in nodes
        for nic in node.compute_nics
        if not nic.is_active
    ]
    transports = [
        record
        for reported in ranks.values()
        for record in reported.measured(TransportRecord)
    ]
    if topology.nodes > 1 and down:
        return (
            f"not active: {', '.join(down[:8])}",
            "check cable, switch port and subnet manager there: jax-sif doctor on"
            " that node shows more",
        )
    fast = any(
        nic.kind != hardware.ETHERNET and nic.is_active
        for node in nodes
        for nic in node.compute_nics
    )
    if any(r.kind == "sockets" and r.reported_by == "nccl" for r in transports):
        if fast:
            return ("NCCL uses TCP instead of InfiniBand", _HINT_RDMA)
        return (
            "NCCL uses TCP",
            "no RDMA card was found on these nodes; should there be one?",
        )
    if any(r.gpudirect is False for r in transports):
        return ("NCCL works without GPUDirect RDMA", _HINT_GPUDIRECT)
    return _cause_from_ratio(measured, topology, nodes)


def _cause_from_ratio(
    measured: RatedPoint, topology: Topology, nodes: Sequence[NodeHardware]
) -> tuple[str, str]:
    """Guess the cause from the figure itself; worded as a guess."""
    ratio = measured.ratio
    is_gpu = any(node.gpu for node in nodes)
    if not is_gpu:
        return "", _HINT_LOAD
    if ratio is None or topology.nodes == 1:
        return "", _HINT_COMPARE
    if measured.point.bus_gb_per_s <= _TCP_GB_PER_S:
        return "it looks like TCP instead of InfiniBand", _HINT_RDMA
    count = min((len(node.compute_nics) for node in nodes), default=0)
    if count > 2 and abs(ratio - 1 / count) <= _TOLERANCE / 2:
        return f"it looks like one network card of {count}", _HINT_ALL_NICS
    if abs(ratio - 0.5) <= _TOLERANCE / 2:
        return "it looks like half of the network cards", _HINT_ALL_NICS
    if _NO_GPUDIRECT[0] <= ratio <= _NO_GPUDIRECT[1]:
        return "it looks like no GPUDirect RDMA", _HINT_GPUDIRECT
    return "", _HINT_COMPARE


def _too_slow(group: Sequence[RatedPoint], cause: str) -> str:
    first, *others = group
    source = first.expectation.source if first.expectation else ""
    also = ", ".join(f"{m.ratio:.2f} of {m.point.description}" for m in others)
    spread = first.point.spread
    return (
        f"{first.description} ({source})"
        + (
            f", trials spread by {100 * spread:.0f} %"
            if spread > _STEADY_SPREAD
            else ""
        )
        + (f"; also {also}" if also else "")
        + (f"; {cause}" if cause else "")
    )


def baseline_no_match(evidence: StepEvidence) -> Iterator[Finding]:
    """The given baseline has no entry for what ran."""
    baseline, results = evidence.baseline, evidence.bandwidth
    if baseline is None or results is None or evidence.has_failed:
        return
    if not results.points:
        return
    name, label = results.hardware_name, evidence.topology.label
    if not baseline.has_entry(name, label):
        known = sorted({f"{key.topology} on {key.hardware}" for key in baseline.runs})
        yield Finding(
            "baseline-no-match",
            f"{baseline.name} has no entry for {label} on {name}; it has"
            f" {'; '.join(known[:4]) or 'no entries'}",
            "if this run is a good one, jax-sif baseline add records it; otherwise find"
            " out why nodes or network differ from before",
            is_warning=True,
        )


def stragglers(evidence: StepEvidence) -> Iterator[Finding]:
    """A rank is slower than the others at nearly every size."""
    if evidence.has_failed:
        return
    found = [point for point in _points(evidence) if point.size_bytes >= _MIN_BYTES]
    for activity, times in (
        ("filling and checking its own buffers", [p.local_us for p in found]),
        ("its part of the collectives", [p.times_us for p in found]),
    ):
        for rank, factor in _stragglers(times):
            history = evidence.histories[rank]
            yield Finding(
                "straggler",
                f"{where([history])} takes {factor:.1f} times as long as the other"
                f" ranks for {activity}",
                "all ranks wait for the slowest: check its clocks, temperature and"
                " other processes (jax-sif doctor on that node)",
                ranks_of([history]),
                is_warning=True,
            )
            return


def _stragglers(
    times: Iterable[Mapping[int, Sequence[float]]],
) -> Iterator[tuple[int, float]]:
    """Ranks and how many times as long as the others they take, the slowest first."""
    factors: dict[int, list[float]] = defaultdict(list)
    for by_rank in times:
        medians = {r: statistics.median(t) for r, t in by_rank.items() if t}
        if len(medians) < 2:
            continue
        # The reference: the faster of two ranks, the median of more.
        reference = statistics.median_low(medians.values())
        for rank, median in medians.items():
            factors[rank].append(median / max(reference, 1e-3))
    slow = {
        rank: statistics.median(found)
        for rank, found in factors.items()
        if len(found) >= _MIN_POINTS
        and sum(f > _STRAGGLER_RATIO for f in found) >= _STRAGGLER_SHARE * len(found)
    }
    yield from sorted(slow.items(), key=lambda item: -item[1])
