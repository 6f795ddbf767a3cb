"""How long a group may stand still."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

# In seconds; 0 or unset: hangs are not looked for.
LIMIT_VARIABLE = "JAX_SIF_HANG_S"
# `always`: what is only a warning otherwise ends the step, too.
END_VARIABLE = "JAX_SIF_HANG_END"
# All ranks at one line may compile, or wait for something outside: 3,600 s for 600 s.
ONE_PLACE_FACTOR = 6


def limit_s(environment: Mapping[str, str]) -> float | None:
    """The time without progress after which a group hangs; None: not looked for."""
    try:
        value = float(environment.get(LIMIT_VARIABLE) or 0)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def repeat_s(limit_s: float) -> float:
    """How often a rank that stands still reports again."""
    return max(2.0, limit_s / 10)
