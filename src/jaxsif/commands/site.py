"""`jax-sif site`: a draft of this cluster's description; runs in the container, on a login or compute node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Reads the options and writes the draft."""
    parser = argparse.ArgumentParser(
        prog="jax-sif site",
        description="`detect` prints a draft of a site for jax-sif job, from Slurm, the"
        " network and the programs of this node, with the reason for each value.",
        epilog="jax-sif site detect > ~/.config/jax-sif/sites/here.yaml; exit status: 0,"
        " or 3 when there is no Slurm here.",
    )
    parser.add_argument("deed", choices=("detect",))
    parser.parse_args(arguments)

    from jaxsif.job import detect

    facts = os.environ.get(detect.FACTS_VARIABLE)
    sys.stdout.write(detect.draft(_look() if facts is None else facts))
    return 0


def _look() -> str:
    """In a checkout without the image nobody has looked before."""
    program = Path(__file__).parents[3] / "bin/site-facts"
    if not program.is_file():
        return ""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.stdout
