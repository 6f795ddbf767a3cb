"""Code that runs in each rank, in the container; may import JAX."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.rank.distributed import DistributedInfo
from jaxsif.rank.reporter import Reporter
from jaxsif.rank.session import (
    initialize_distributed,
    phase_reporter,
    report_progress,
    report_speed,
    request_requeue,
)

__all__ = [
    "DistributedInfo",
    "Reporter",
    "initialize_distributed",
    "phase_reporter",
    "report_progress",
    "report_speed",
    "request_requeue",
]
