"""Checks for wrong elements, for low bandwidth, and for stragglers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.bandwidth import hardware, rating, results
from jaxsif.bandwidth.rating import RatedPoint
from jaxsif.bandwidth.results import Point
from jaxsif.core.evidence import FAIL_RATIO, Finding, StepEvidence
from jaxsif.core.naming import ranks_of, where
from jaxsif.core.text import plural

# A straggler takes this many times as long as the others, at nearly every size.
_STRAGGLER_RATIO = 1.5
_STRAGGLER_SHARE = 0.75
_MIN_POINTS = 3
# A larger spread of the trials is reported.
_STEADY_SPREAD = 0.15
# Times of smaller messages depend mostly on the operating system.
_MIN_BYTES = 2**16


def wrong_elements(evidence: StepEvidence) -> Iterator[Finding]:
    """Collectives delivered values that differ from those sent."""
    corrupt_points = [
        point
        for point in results.points(evidence.histories)
        if any(point.wrong.values())
    ]
    if not corrupt_points:
        return
    ranks = sorted({rank for point in corrupt_points for rank in _receivers(point)})
    count = sum(sum(point.wrong.values()) for point in corrupt_points)
    more = len(corrupt_points) - 1
    also = f" and {plural(more, 'more result')}" if more else ""
    yield Finding(
        "data-corrupt-collective",
        f"{where([evidence.histories[rank] for rank in ranks])}: {plural(count, 'element')} of"
        f" {corrupt_points[0].description}{also} {'are' if count > 1 else 'is'} not what was sent"
        f"{_common_receivers(evidence, corrupt_points, len(ranks))}",
        "do not trust results from this allocation; a device, link or memory corrupts"
        " data: run jax-sif doctor on these nodes, then repeat on fewer nodes",
        tuple(ranks),
    )


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
    if evidence.has_failed:
        return
    rated = rating.rate_points(evidence.histories, evidence.topology, evidence.baseline)
    # Results with the same likely cause are reported once, failures before warnings.
    by_cause: dict[tuple[bool, str, str], list[RatedPoint]] = defaultdict(list)
    for point in rated:
        if not point.is_good:
            is_failure = (point.ratio or 0.0) < FAIL_RATIO
            cause, remedy = rating.likely_cause(
                point, evidence.topology, evidence.histories
            )
            by_cause[is_failure, cause, remedy].append(point)
    for (is_failure, cause, remedy), group in sorted(
        by_cause.items(), key=lambda item: not item[0][0]
    ):
        yield Finding(
            "bandwidth-low", _too_slow(group, cause), remedy, is_warning=not is_failure
        )


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
    baseline = evidence.baseline
    histories = evidence.histories
    if baseline is None or evidence.has_failed or not results.points(histories):
        return
    name = hardware.hardware_name(hardware.nodes(histories))
    label = evidence.topology.label
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
    found = [
        point
        for point in results.points(evidence.histories)
        if point.size_bytes >= _MIN_BYTES
    ]
    for activity, times in (
        ("filling and checking its own buffers", [p.local_us for p in found]),
        ("its part of the collectives", [p.times_us for p in found]),
    ):
        for rank, factor in _stragglers(times):
            history = evidence.histories[rank]
            yield Finding(
                "straggler",
                f"{where([history])} takes {factor:.1f} times as long as the other ranks"
                f" for {activity}",
                "all ranks wait for the slowest: check its clocks, temperature and other"
                " processes (jax-sif doctor on that node)",
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
