"""Tells, phase by phase, what this rank has seen, as records in its standard output; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from jaxsif import image
from jaxsif.contract import record
from jaxsif.contract.identity import Identity
from jaxsif.contract.topology import TOPOLOGY_VARIABLE
from jaxsif.contract.trouble import Trouble
from jaxsif.rank import peers

# What the "G" of a topology stands for; a cluster without GPUs declares "cpu".
PLATFORM_VARIABLE = "JAX_SIF_PLATFORM"

_LONGEST_TEXT = 1000
_MOST_TROUBLES = 5
_MOST_RANKS = 20


class Narrator:
    """The voice of one rank. Each method says one phase with the facts that prove it."""

    def __init__(self, identity: Identity, *, is_heard: bool = True) -> None:
        """`is_heard`: whether anybody reads records; without them nothing is written."""
        self.identity = identity
        self.saw_wrong_numbers = False
        self._is_heard = is_heard
        # Told of each phase that is reached, with the next, and of each collective.
        self.on_reached: Callable[[str, str], None] = lambda phase, following: None
        self.on_entered: Callable[[str], None] = lambda collective: None

    def say(self, phase: str, **facts: Any) -> None:
        """Writes one record in one piece, after everything printed so far."""
        self.write(phase, **facts)
        if phase in record.PHASES:
            following = record.PHASES.index(phase) + 1
            self.on_reached(phase, (*record.PHASES, "end")[following])

    def write(self, phase: str, *, is_flushed: bool = True, **facts: Any) -> None:
        """The record alone. `is_flushed=False`: from a thread that must not wait."""
        if not self._is_heard:
            return
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
        if is_flushed:
            sys.stdout.flush()
        os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, line.encode())

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
            packages=image.fingerprint(image.PACKAGES_DESCRIPTION),
            program=peers.program_fingerprint(),
        )

    def connected(self, *, has_proof: bool = False) -> None:
        """Says, after `jax.distributed.initialize()`, which group this rank is in.

        `has_proof`: whether the ranks have shown each other which step they are of.
        """
        import jax
        import jaxlib

        self.say(
            "connected",
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            jax=jax.__version__,
            jaxlib=jaxlib.version.__version__,
            has_met=has_proof,
        )

    def devices(self) -> None:
        """Says which devices this rank has, and how many the group has."""
        self.on_entered("devices")
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

    def enters(self, collective: str) -> None:
        """Says to the watchdog, not to people, that this rank will wait for the others."""
        self.on_entered(collective)

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

        self.enters("identity")
        foreign = proof.foreign_slots(self.identity)
        self.saw_wrong_numbers |= bool(foreign)
        self.say("identity", foreign=len(foreign), slots=foreign[:8])

    def troubled(self, troubles: Sequence[Trouble]) -> None:
        """Says what is not as it should be, though the program goes on."""
        self.say(record.TROUBLED, troubles=_as_facts(troubles))

    def failed(self, error: BaseException) -> None:
        """Says that the program ended in an exception, and which."""
        # The first line says what; JAX adds notes that say nothing of this error.
        text = "".join(traceback.format_exception_only(error)).strip().partition("\n")
        self.say(record.FAILED, error=text[0][:_LONGEST_TEXT])

    def failed_to_start(self, troubles: Sequence[Trouble]) -> None:
        """Says why the program cannot run here."""
        self.say(record.FAILED, troubles=_as_facts(troubles))


def _as_facts(troubles: Sequence[Trouble]) -> list[dict[str, Any]]:
    """As much as fits a record."""
    longest = _LONGEST_TEXT // 3
    return [
        {
            "kind": t.kind,
            "text": t.text[:longest],
            "remedy": t.remedy[:longest],
            "ranks": t.ranks[:_MOST_RANKS],
        }
        for t in troubles[:_MOST_TROUBLES]
    ]
