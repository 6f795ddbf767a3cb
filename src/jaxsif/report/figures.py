"""All that is reckoned from a verdict, once for every part that shows it; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from jaxsif.report.bandwidth import Point, points
from jaxsif.report.document import Verdict
from jaxsif.report.pairs import NodePairs, node_pairs
from jaxsif.report.phases import Life, lives


@dataclass(frozen=True)
class Figures:
    """A verdict's bandwidths, pairs of nodes, and what each rank did when."""

    verdict: Verdict
    points: list[Point]
    pairs: NodePairs
    lives: list[Life]


def figures(verdict: Verdict) -> Figures:
    """Reckons all of them. Raises UsageError for a record that is not as it should be."""
    return Figures(verdict, points(verdict), node_pairs(verdict), lives(verdict))
