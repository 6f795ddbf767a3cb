"""jax-sif: JAX on a GPU cluster from a container, with proof that it works."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsif.rank import (
        DistributedInfo,
        initialize_distributed,
        report_progress,
        report_speed,
        request_requeue,
    )

__all__ = [
    "DistributedInfo",
    "initialize_distributed",
    "report_progress",
    "report_speed",
    "request_requeue",
]


def __getattr__(name: str) -> Any:
    """Import the rank's part on demand: the tool must start in milliseconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxsif import rank

    return getattr(rank, name)
