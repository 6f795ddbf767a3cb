"""`jax-sif accept`: its help; it submits jobs, which bin/accept does on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jaxsif.core.errors import UsageError


def main(arguments: Sequence[str]) -> int:
    """Shows the help, or says where it runs."""
    parser = argparse.ArgumentParser(
        prog="jax-sif accept",
        usage="jax-sif accept [--topology=G64N16p64] [OPTIONS OF jax-sif job]",
        description="Submits every check, one after another, shows each verdict as it"
        " comes, and writes acceptance.html. All-reduce, bandwidth and pairs run on the"
        " nodes of --topology (two by default; a slow node is found among four or more)."
        " All other options go to every jax-sif job: --site, --partition, --platform.",
        epilog="Exit status: 0 all passed, 1 one failed, 2 wrong usage, 3 could not tell.",
    )
    parser.parse_known_args(arguments)
    raise UsageError(
        "accept submits jobs, and this is not the host with Slurm's commands; run the"
        " jax-sif that the module brings, on a login node: module load jax-sif"
    )
