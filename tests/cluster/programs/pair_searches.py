"""Searches for a slow node again and again in one step, each time when a file says so; runs as a rank, in the container."""
# SPDX-License-Identifier: Apache-2.0

import dataclasses
import os
import time
from pathlib import Path

from jaxsif import initialize_distributed
from jaxsif.rank import Reporter, phase_reporter

FOLDER = Path(os.environ["PAIRS_FOLDER"])


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


with phase_reporter() as reporter:
    initialize_distributed()
    from jaxsif.pairs import measure
    from jaxsif.pairs.exchange import Load

    reporter.devices()
    reporter.prove_identity()
    base, _, restart = reporter.identity.step.rpartition(".")
    loads = [Load(8, 1, 40), Load(int(os.environ["PAIRS_BYTES"]), 3, 5)]
    for number in range(int(os.environ["PAIRS_SEARCHES"])):
        # The judge takes each search for a step of its own.
        who = dataclasses.replace(reporter.identity, step=f"{base}-{number}.{restart}")
        reporter = Reporter(who)
        reporter.entry_observer = reporter.entry_observer
        reporter.enters(f"search {number}")
        wait_for(FOLDER / f"go-{number}")
        reporter.started()
        reporter.connected(has_proof=True)
        reporter.devices()
        measure.search(reporter, loads)
        reporter.say("done")
        if who.rank == 0:
            (FOLDER / f"done-{number}").touch()
