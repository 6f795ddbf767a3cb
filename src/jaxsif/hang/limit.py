"""How long a group may stand still."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

# In seconds; unset, 0 or off: hangs are not looked for.
LIMIT_VARIABLE = "JAX_SIF_HANG_S"


def limit_s(environment: Mapping[str, str]) -> float | None:
    """The time without progress after which a group hangs; None: not looked for."""
    try:
        value = float(environment.get(LIMIT_VARIABLE) or 0)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
