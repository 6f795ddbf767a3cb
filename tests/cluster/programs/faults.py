"""Means of the faulty programs beside it: which rank this is, and the diagnostic to run."""
# SPDX-License-Identifier: Apache-2.0

import os
import runpy
import sys
from pathlib import Path

# A program that takes a diagnostic's place is mounted over it, away from its own folder.
sys.path.insert(0, str(Path(os.environ["JAX_SIF_ROOT"], "tests/cluster/faults")))
from fault import at_point, on_points

__all__ = ["IS_LAST", "RANK", "at_point", "on_points", "run_diagnostic"]

RANK = int(os.environ["SLURM_PROCID"])
IS_LAST = int(os.environ["SLURM_NTASKS"]) - 1 == RANK


def run_diagnostic(shadow: str) -> None:
    """`shadow` is the path under which the faulty program runs."""
    original = Path(os.environ["JAX_SIF_ROOT"], "diag", Path(shadow).name)
    runpy.run_path(str(original), run_name="__main__")
