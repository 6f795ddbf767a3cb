"""`jax-sif nodes`: which nodes cost jobs most, by the attempts of these jobs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxsif.core.errors import PASS


def main(arguments: Sequence[str]) -> int:
    """Print a table of the nodes, and those to leave out as an option of sbatch."""
    parser = argparse.ArgumentParser(
        prog="jax-sif nodes",
        description="Sums up the attempts of jobs with restarts (jax-sif job"
        " --max-restarts): which nodes ended them, and what that cost.",
        epilog="The last line is an option for sbatch, or for `options` of a site. Exit"
        " status: 0, also without any node; 2 usage error.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="NAME-JOB.attempts.json",
        help="what these jobs wrote",
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.core import attempts_file
    from jaxsif.core.text import MAX_ROWS, format_table, listed, not_shown, plural
    from jaxsif.recovery.nodes import node_costs, to_exclude

    files = [attempts_file.read(path) for path in chosen.files]
    costs = node_costs(files)
    if not costs:
        print(f"no node ended an attempt in {plural(len(files), 'job')}")
        return PASS
    rows = [("node", "left out", "attempts", "jobs", "device hours", "causes")]
    rows += [
        (
            cost.node,
            str(cost.left_out),
            str(cost.attempts),
            str(len(cost.jobs)),
            f"{cost.device_hours:.2f}",
            listed(sorted(cost.kinds), 3),
        )
        for cost in costs[:MAX_ROWS]
    ]
    print("\n".join(format_table(rows, "<>>>><")))
    for line in not_shown(MAX_ROWS, len(costs), "node"):
        print(line)
    worst = to_exclude(costs)
    if worst:
        print(f"--exclude={','.join(worst)}")
    return PASS
