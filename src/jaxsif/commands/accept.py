"""`jax-sif accept`: its help. The jobs are submitted by bin/accept on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jaxsif.core.errors import UsageError


def main(arguments: Sequence[str]) -> int:
    """Shows the help, or an error that names where the command works."""
    parser = argparse.ArgumentParser(
        prog="jax-sif accept",
        usage="jax-sif accept [--topology=G64N16p64] [OPTIONS OF jax-sif job]",
        description="Submits every check, one after another, shows each verdict, and"
        " writes acceptance.html. All-reduce, bandwidth and pairs use the nodes of"
        " --topology (default: two; finding a slow node needs four or more). All other"
        " options are passed to jax-sif job: --site, --partition, --platform.",
        epilog="Exit status: 0 all passed, 1 one failed, 2 usage error, 3 no result.",
    )
    parser.parse_known_args(arguments)
    raise UsageError(
        "accept submits jobs, but Slurm's commands are not available here; run the"
        " module's jax-sif on a login node: module load jax-sif"
    )
