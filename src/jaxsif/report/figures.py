"""The data of a report, computed once for all its parts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from jaxsif.bandwidth.figures import Figure
from jaxsif.pairs.figures import NodePairs
from jaxsif.report.document import Verdict
from jaxsif.report.phases import RankTimeline, timelines


@dataclass(frozen=True)
class Figures:
    """A verdict's bandwidths, pairs of nodes, and what each rank did when."""

    verdict: Verdict
    bandwidths: tuple[Figure, ...]
    pairs: NodePairs
    timelines: list[RankTimeline]


def figures(verdict: Verdict) -> Figures:
    """Those that the verdict holds, and the times of its ranks."""
    bandwidths, pairs = verdict.bandwidth or (), verdict.pairs or NodePairs()
    return Figures(verdict, bandwidths, pairs, timelines(verdict))


def missing(verdict: Verdict) -> str:
    """Why measurements are shown without figures; empty where none are missing."""
    is_measured = any(
        record.get("phase") in ("bandwidth", "pair")
        for rank in verdict.ranks
        for record in rank.measured
    )
    if verdict.bandwidth is not None or not is_measured:
        return ""
    return (
        "This verdict is of an earlier jax-sif and holds no figures: judge the job's"
        " output again with jax-sif verify --verdict-file FILE."
    )
