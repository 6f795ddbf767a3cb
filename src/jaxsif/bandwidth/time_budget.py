"""Which sizes a series of measurements still has time for; pure, used in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Runs of each size besides the trials, until a chain has its length.
WARM_UPS = 4


@dataclass(frozen=True)
class TimeBudget:
    """How long the last size took, `cost_s` in all, and `time_us` for one collective."""

    limit_s: float
    spent_s: float
    trials: int
    size_bytes: int
    cost_s: float
    time_us: float

    @property
    def left_s(self) -> float:
        return self.limit_s - self.spent_s

    def expected_s(self, size_bytes: int) -> float:
        """For another size: as long as the last, and its runs once more in proportion.

        Filling and checking take about as long as the collective.
        """
        runs = 2 * (self.trials + WARM_UPS)
        growth = size_bytes / self.size_bytes
        return self.cost_s + runs * growth * self.time_us / 1e6

    def next_of(self, sizes: Sequence[int]) -> int | None:
        """The place of the size to measure next; None when there is no time for one.

        Where the small ones are slow (many ranks on few cores) some are left out, so that
        the large ones, which a speed is judged by, have their turn.
        """
        possible = [n for n, s in enumerate(sizes) if self.expected_s(s) <= self.left_s]
        if not possible:
            return None
        stride = math.ceil(len(sizes) * self.cost_s / self.left_s)
        return min(max(stride, 1) - 1, possible[-1])
