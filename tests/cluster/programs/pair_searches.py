"""Searches for a slow node repeatedly in one step, each time when a file appears."""
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
    from jaxsif.pairs.measure import MessageSpec

    reporter.devices()
    reporter.prove_identity()
    base, _, restart = reporter.identity.step.rpartition(".")
    specs = [MessageSpec(8, 1, 40), MessageSpec(int(os.environ["PAIRS_BYTES"]), 3, 5)]
    for number in range(int(os.environ["PAIRS_SEARCHES"])):
        # For jax-sif verify each search is a separate step.
        who = dataclasses.replace(reporter.identity, step=f"{base}-{number}.{restart}")
        searcher = Reporter(who)
        searcher.entry_observer = reporter.entry_observer
        reporter.enters(f"search {number}")
        wait_for(FOLDER / f"go-{number}")
        searcher.started()
        searcher.connected(has_proof=True)
        searcher.devices()
        measure.run_search(searcher, specs)
        searcher.done()
        if who.rank == 0:
            (FOLDER / f"done-{number}").touch()
