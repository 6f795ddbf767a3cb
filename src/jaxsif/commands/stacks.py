"""`jax-sif stacks`: its help. The job's ranks are asked by bin/stacks on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jaxsif.core.errors import UsageError


def main(arguments: Sequence[str]) -> int:
    """Show the help, or an error that names where the command works."""
    parser = argparse.ArgumentParser(
        prog="jax-sif stacks",
        usage="jax-sif stacks JOBID",
        description="Shows where every rank of a running job is, equal stacks once, the"
        " odd ones first, and writes it to NAME-JOB.stacks beside the verdict file. The"
        " job goes on. Experimental.",
        epilog="Exit status: 0 shown, 1 no answer, 2 usage error.",
    )
    parser.parse_known_args(arguments)
    raise UsageError(
        "stacks asks Slurm, whose commands are not available here; run the module's"
        " jax-sif on a login node: module load jax-sif"
    )
