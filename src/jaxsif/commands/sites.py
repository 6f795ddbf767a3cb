"""`jax-sif sites`: what sites there are; runs in the container, on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Shows the table."""
    argparse.ArgumentParser(
        prog="jax-sif sites",
        description="Lists the sites for jax-sif job: those of jax-sif and your own in"
        " ~/.config/jax-sif/sites/.",
    ).parse_args(arguments)

    from jaxsif.job import listing

    sys.stdout.write(listing.sites(os.environ))
    return 0
