"""`jax-sif site`: lists and shows sites, and drafts one of this cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxsif.commands import profile


def main(arguments: Sequence[str]) -> int:
    """Reads the options and prints the table, one site, or the draft."""
    parser, subcommands = profile.parser_for(
        "site",
        "detect",
        epilog="jax-sif site detect > ~/.config/jax-sif/sites/here.yaml",
    )
    subcommands.add_parser(
        "detect",
        help="print a draft of this cluster's site",
        description="Prints a draft of a site for jax-sif job, from Slurm, the network"
        " and the programs of this node, with the reason for each value.",
        epilog="Exit status: 0, or 3 if there is no Slurm on this node.",
    )
    chosen = parser.parse_args(arguments)
    if chosen.subcommand != "detect":
        return profile.list_or_show("site", chosen)

    from jaxsif.job import detect

    facts = os.environ.get(detect.FACTS_VARIABLE)
    sys.stdout.write(detect.draft(_collect_facts() if facts is None else facts))
    return 0


def _collect_facts() -> str:
    """The facts of this node, in a checkout without the image."""
    program = Path(__file__).parents[3] / "bin/site-facts"
    if not program.is_file():
        return ""
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.stdout
