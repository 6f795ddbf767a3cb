"""Tells, phase by phase, what this rank has seen, as records in its standard output; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from jaxsif import image
from jaxsif.contract import record
from jaxsif.contract.identity import Identity, identify
from jaxsif.contract.topology import TOPOLOGY_VARIABLE

# What the "G" of a topology stands for; a cluster without GPUs declares "cpu".
PLATFORM_VARIABLE = "JAX_SIF_PLATFORM"

_LONGEST_TEXT = 1000


class Narrator:
    """The voice of one rank. Each method says one phase with the facts that prove it."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.saw_wrong_numbers = False

    def say(self, phase: str, **facts: Any) -> None:
        """Writes one record in one piece, after everything printed so far."""
        line = record.encode(
            {
                "phase": phase,
                "rank": self.identity.rank,
                "step": self.identity.step,
                "node": self.identity.node,
                "time": round(time.time(), 3),
                **facts,
            }
        )
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), line.encode())

    def started(self) -> None:
        """Says who this rank is and what was asked for."""
        self.say(
            "started",
            processes=self.identity.processes,
            local_rank=self.identity.local_rank,
            nodes=self.identity.node_list,
            topology=os.environ.get(TOPOLOGY_VARIABLE),
            platform=os.environ.get(PLATFORM_VARIABLE, "gpu"),
            image=image.fingerprint(),
        )

    def connected(self) -> None:
        """Says, after `jax.distributed.initialize()`, which group this rank is in."""
        import jax
        import jaxlib

        self.say(
            "connected",
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            jax=jax.__version__,
            jaxlib=jaxlib.version.__version__,
        )

    def devices(self) -> None:
        """Says which devices this rank has, and how many the group has."""
        import jax

        from jaxsif.rank import devices

        self.say(
            "devices",
            backend=jax.default_backend(),
            local=[
                {"id": device.id, "kind": device.device_kind, "uuid": uuid}
                for device, uuid in devices.with_uuids(self.identity.node, os.environ)
            ],
            total=jax.device_count(),
            nccl=devices.nccl_version(),
        )

    def all_reduced(self, result: Any) -> None:
        """Says the sum of ones that this rank got: one element per local device."""
        import jax
        import numpy as np

        values = np.concatenate(
            [np.ravel(shard.data) for shard in result.addressable_shards]
        )
        wrong = values != jax.device_count()
        self.saw_wrong_numbers |= bool(wrong.any())
        self.say(
            "allreduce",
            expected=jax.device_count(),
            got=float(values[wrong.argmax()]),
            wrong=int(wrong.sum()),
        )

    def prove_identity(self) -> None:
        """All-reduces what only this run's ranks can produce, and says who was foreign."""
        from jaxsif.rank import proof

        foreign = proof.foreign_slots(self.identity)
        self.saw_wrong_numbers |= bool(foreign)
        self.say("identity", foreign=len(foreign), slots=foreign[:8])

    def failed(self, error: BaseException) -> None:
        """Says that the program ended in an exception, and which."""
        text = "".join(traceback.format_exception_only(error)).strip()
        self.say(record.FAILED, error=text[:_LONGEST_TEXT])


@contextlib.contextmanager
def narrate() -> Iterator[Narrator]:
    """Narrates the program inside the `with` block, from its start to its end.

    An exception is printed and recorded, and ends the process at once: JAX would make
    it wait 300 s for the others at its shutdown barrier. Wrong numbers end it with
    status 1, after all ranks have told theirs.
    """
    narrator = Narrator(identify(os.environ, socket.gethostname()))
    narrator.started()
    try:
        yield narrator
        narrator.say("done")
    except BaseException as error:
        narrator.failed(error)
        traceback.print_exc()
        _end_at_once(1)
    if narrator.saw_wrong_numbers:
        _meet_the_others()
        _end_at_once(1)


def _meet_the_others() -> None:
    """Waits for all ranks, so that `srun` ends nobody who has still to speak."""
    import jax

    jax.distributed.shutdown()


def _end_at_once(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
