"""`jax-sif mark`: marks the launcher's lines where there is no `bin/jax-sif`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from jaxsif.core.record_lines import job_keys, launcher_line


def main(arguments: Sequence[str]) -> int:
    """Copies standard input line by line; `bin/jax-sif` does the same in shell."""
    argparse.ArgumentParser(
        prog="jax-sif mark",
        description="Copies the standard error of srun and marks each line with the"
        " job's key: srun ... 2> >(jax-sif mark) | jax-sif verify.",
    ).parse_args(arguments)
    # srun's last lines come after the signal that ends the job.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keys = job_keys(os.environ)
    mark = launcher_line("", keys[0]) if keys else ""
    # One write per line, so that no other process's output is mixed in.
    if mark:
        os.write(1, mark.rstrip().encode() + b"\n")
    for line in sys.stdin.buffer:
        os.write(1, mark.encode() + line)
    return 0
