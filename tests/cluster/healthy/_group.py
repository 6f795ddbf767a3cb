"""How a healthy program joins its group, by the kit or as plain JAX, and the line that shows its good end; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

# Read at once: a program may empty its environment.
RANK = int(os.environ["SLURM_PROCID"])
LOCAL_RANK = int(os.environ["SLURM_LOCALID"])
_IS_OF_THE_KIT = os.environ.get("HEALTHY_START") == "kit"
SCALE = float(os.environ.get("HEALTHYSCALE", "1"))


def join(**settings: object) -> None:
    """Joins the group in the way that the job asks for."""
    if _IS_OF_THE_KIT:
        from jaxsif import initialize_distributed

        initialize_distributed(**settings)
    else:
        import jax

        jax.distributed.initialize(**settings)


def add_up(processes: int = 4) -> None:
    """A sum over all ranks, which must be right."""
    import numpy as np
    from jax.experimental import multihost_utils

    total = multihost_utils.process_allgather(np.full(1, 1.0)).sum()
    assert total == processes, total


def work(seconds: float) -> None:
    """Time that the program needs for itself; HEALTHYSCALE makes it shorter."""
    time.sleep(seconds * SCALE)


def say(lines: Iterable[str]) -> None:
    """Prints each line at once."""
    for line in lines:
        print(line, flush=True)


def end_well(descriptor: int = 1) -> None:
    """The rank's last line, in one piece, so that no other rank's stands within it."""
    sys.stdout.flush()
    os.write(descriptor, f"\nrank {RANK} ended well\n".encode())
