"""Selects the sizes that a series of measurements still has time for."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Runs of each size besides the trials, until the length of the chain fits.
WARM_UPS = 4


@dataclass(frozen=True)
class TimeBudget:
    """The time of the last size: `setup_cost_s` in all, `time_us` for one collective."""

    limit_s: float
    spent_s: float
    trials: int
    size_bytes: int
    setup_cost_s: float
    time_us: float

    @property
    def left_s(self) -> float:
        return self.limit_s - self.spent_s

    def expected_s(self, size_bytes: int) -> float:
        """Estimate another size: the last one's time, plus its runs scaled by size.

        Filling and checking take about as long as the collective.
        """
        runs = 2 * (self.trials + WARM_UPS)
        growth = size_bytes / self.size_bytes
        return self.setup_cost_s + runs * growth * self.time_us / 1e6

    def next_size(self, sizes: Sequence[int]) -> int | None:
        """The index of the next size to measure; None if there is no time for one.

        Skips small sizes if they are slow (many ranks on few cores), so that there is
        time for the large ones, which are rated.
        """
        possible = [n for n, s in enumerate(sizes) if self.expected_s(s) <= self.left_s]
        if not possible:
            return None
        stride = math.ceil(len(sizes) * self.setup_cost_s / self.left_s)
        return min(max(stride, 1) - 1, possible[-1])
