"""What a rank does during the job, in its own process, in the container: the only package that imports JAX."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.rank.distributed import local_device_ids, wait_for_coordinator
from jaxsif.rank.narrator import Narrator, narrate

__all__ = ["Narrator", "local_device_ids", "narrate", "wait_for_coordinator"]
