"""Searches for a slow node again and again in one step, each time when a file says so; runs as a rank, in the container."""
# SPDX-License-Identifier: Apache-2.0

import dataclasses
import os
import time
from pathlib import Path

from jaxsif import initialize_distributed
from jaxsif.rank import Narrator, narrate

FOLDER = Path(os.environ["PAIRS_FOLDER"])


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


with narrate() as tell:
    initialize_distributed()
    from jaxsif.pairs import measure
    from jaxsif.pairs.exchange import Load

    tell.devices()
    tell.prove_identity()
    base, _, restart = tell.identity.step.rpartition(".")
    loads = [Load(8, 1, 40), Load(int(os.environ["PAIRS_BYTES"]), 3, 5)]
    for number in range(int(os.environ["PAIRS_SEARCHES"])):
        # The judge takes each search for a step of its own.
        who = dataclasses.replace(tell.identity, step=f"{base}-{number}.{restart}")
        narrator = Narrator(who)
        narrator.on_entered = tell.on_entered
        tell.enters(f"search {number}")
        wait_for(FOLDER / f"go-{number}")
        narrator.started()
        narrator.connected(has_proof=True)
        narrator.devices()
        measure.search(narrator, loads)
        narrator.say("done")
        if who.rank == 0:
            (FOLDER / f"done-{number}").touch()
