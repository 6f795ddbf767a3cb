"""What a rank does during the job, in its own process, in the container: the only package that imports JAX."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.rank.information import DistributedInfo
from jaxsif.rank.narrator import Narrator
from jaxsif.rank.session import initialize_distributed, narrate
from jaxsif.rank.wishes import report_speed, request_requeue

__all__ = [
    "DistributedInfo",
    "Narrator",
    "initialize_distributed",
    "narrate",
    "report_speed",
    "request_requeue",
]
