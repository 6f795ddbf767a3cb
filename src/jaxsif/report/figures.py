"""The data of a report, computed once for all its parts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from jaxsif.core.verdict_file import BandwidthFigure, NodePairs, StepVerdict
from jaxsif.report.phases import RankTimeline, timelines


@dataclass(frozen=True)
class Figures:
    """A verdict's bandwidths, pairs of nodes, and what each rank did when."""

    verdict: StepVerdict
    bandwidths: tuple[BandwidthFigure, ...]
    pairs: NodePairs
    timelines: list[RankTimeline]


def figures(verdict: StepVerdict) -> Figures:
    """Those that the verdict holds, and the times of its ranks."""
    bandwidths, pairs = verdict.bandwidth, verdict.pairs or NodePairs()
    return Figures(verdict, bandwidths, pairs, timelines(verdict))
