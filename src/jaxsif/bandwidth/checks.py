"""Checks for wrong elements, for low bandwidth, and for stragglers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxsif.bandwidth import hardware, rating, results
from jaxsif.bandwidth.rating import Measured
from jaxsif.bandwidth.results import Point
from jaxsif.core.evidence import Finding, StepEvidence
from jaxsif.core.naming import ranks_of, where

# A straggler takes this many times as long as the others, at nearly every size.
_LAGS = 1.5
_NEARLY_ALWAYS = 0.75
_FEWEST_POINTS = 3
# A larger spread of the trials is reported.
_CALM = 0.15
# Times of smaller messages depend mostly on the operating system.
_LARGE_BYTES = 2**16


def wrong_elements(case: StepEvidence) -> Iterator[Finding]:
    """Collectives delivered values that differ from those sent."""
    spoiled = [
        point
        for point in results.points(rating.records_of(case.histories))
        if any(point.wrong.values())
    ]
    if not spoiled:
        return
    ranks = sorted({rank for point in spoiled for rank in _receivers(point)})
    count = sum(sum(point.wrong.values()) for point in spoiled)
    more = len(spoiled) - 1
    also = f" and {_plural(more, 'more result')}" if more else ""
    yield Finding(
        "data-corrupt-collective",
        f"{where([case.histories[rank] for rank in ranks])}: {_plural(count, 'element')} of"
        f" {spoiled[0].words}{also} {'are' if count > 1 else 'is'} not what was sent"
        f"{_narrowest(case, spoiled, len(ranks))}",
        "do not trust results from this allocation; a device, link or memory corrupts"
        " data: run jax-sif doctor on these nodes, then repeat on fewer nodes",
        tuple(ranks),
    )


def _receivers(point: Point) -> list[int]:
    return [rank for rank, count in point.wrong.items() if count]


def _narrowest(case: StepEvidence, spoiled: Sequence[Point], all_ranks: int) -> str:
    """Describe the result that is wrong on the fewest ranks, nearest to the fault."""
    nearest = min(spoiled, key=lambda point: len(_receivers(point)))
    receivers = _receivers(nearest)
    if len(receivers) == all_ranks:
        return ""
    text = (
        f"; of {nearest.words} only what"
        f" {where([case.histories[rank] for rank in receivers])} received"
    )
    topology = case.topology
    if nearest.collective != "send-recv" or topology.devices != topology.processes:
        return text
    senders = {(rank - 1) % topology.processes for rank in receivers}
    known = [case.histories[rank] for rank in sorted(senders) if rank in case.histories]
    return f"{text} from {where(known)}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bandwidth_low(case: StepEvidence) -> Iterator[Finding]:
    """Speeds are below what the hardware, or an earlier run, is known to reach."""
    if case.has_failed:
        return
    records = rating.records_of(case.histories)
    judged = rating.judged(case.histories, case.topology, case.baseline)
    # Results with the same likely cause are reported once, failures before warnings.
    alike: dict[tuple[bool, str, str], list[Measured]] = defaultdict(list)
    for measured in judged:
        if not measured.is_good:
            is_poor = (measured.ratio or 0.0) < rating.POOR
            seems, remedy = rating.cause(measured, case.topology, records)
            alike[is_poor, seems, remedy].append(measured)
    for (is_poor, seems, remedy), group in sorted(
        alike.items(), key=lambda item: not item[0][0]
    ):
        yield Finding(
            "bandwidth-low", _too_slow(group, seems), remedy, is_warning=not is_poor
        )


def _too_slow(group: Sequence[Measured], seems: str) -> str:
    first, *others = group
    source = first.expectation.source if first.expectation else ""
    also = ", ".join(f"{m.ratio:.2f} of {m.point.words}" for m in others)
    spread = first.point.spread
    return (
        f"{first.words} ({source})"
        + (f", trials spread by {100 * spread:.0f} %" if spread > _CALM else "")
        + (f"; also {also}" if also else "")
        + (f"; {seems}" if seems else "")
    )


def baseline_no_match(case: StepEvidence) -> Iterator[Finding]:
    """The given baseline has no entry for what ran."""
    baseline = case.baseline
    records = rating.records_of(case.histories)
    if baseline is None or case.has_failed or not results.points(records):
        return
    name = hardware.hardware_name(hardware.nodes(records))
    label = case.topology.label
    if not baseline.knows(name, label):
        known = sorted({f"{key.topology} on {key.hardware}" for key in baseline.runs})
        yield Finding(
            "baseline-no-match",
            f"{baseline.name} has no entry for {label} on {name}; it has"
            f" {'; '.join(known[:4]) or 'no entries'}",
            "if this run is a good one, jax-sif baseline add records it; otherwise find"
            " out why nodes or network differ from before",
            is_warning=True,
        )


def stragglers(case: StepEvidence) -> Iterator[Finding]:
    """A rank is slower than the others at nearly every size."""
    if case.has_failed:
        return
    found = [
        point
        for point in results.points(rating.records_of(case.histories))
        if point.size_bytes >= _LARGE_BYTES
    ]
    for what, times in (
        ("filling and checking its own buffers", [p.local_us for p in found]),
        ("its part of the collectives", [p.times_us for p in found]),
    ):
        for rank, factor in _stragglers(times):
            history = case.histories[rank]
            yield Finding(
                "straggler",
                f"{where([history])} takes {factor:.1f} times as long as the other ranks"
                f" for {what}",
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
        usual = statistics.median_low(medians.values())
        for rank, median in medians.items():
            factors[rank].append(median / max(usual, 1e-3))
    slow = {
        rank: statistics.median(found)
        for rank, found in factors.items()
        if len(found) >= _FEWEST_POINTS
        and sum(f > _LAGS for f in found) >= _NEARLY_ALWAYS * len(found)
    }
    yield from sorted(slow.items(), key=lambda item: -item[1])
