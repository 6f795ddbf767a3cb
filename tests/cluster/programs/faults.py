"""Runs the diagnostic whose place it takes, as it is in the kit; shared by the faulty programs beside it."""
# SPDX-License-Identifier: Apache-2.0

import os
import runpy
from pathlib import Path

RANK = int(os.environ["SLURM_PROCID"])
IS_LAST = int(os.environ["SLURM_NTASKS"]) - 1 == RANK


def run_diagnostic(shadow: str) -> None:
    """`shadow` is the path under which the faulty program runs."""
    original = Path(os.environ["JAX_SIF_ROOT"], "diag", Path(shadow).name)
    runpy.run_path(str(original), run_name="__main__")
