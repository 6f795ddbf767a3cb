"""`jax-sif run`: starts a program as the image's entry point does, without an image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.launch import certificates

_ENTRY = Path(__file__).parents[1] / "start/entry"
_USAGE = """usage: jax-sif run PROGRAM [ARGUMENT ...]

Starts a program as `singularity run` of the image does: sets the coordinator port and
the devices; JAX_SIF_VERBOSE=1 shows the reasons. For environments without the image:
srun ... jax-sif run python train.py"""


def main(arguments: Sequence[str]) -> int:
    """Replaces this process with the program; all arguments are the program's."""
    args = list(arguments)
    if args in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if args[:1] == ["--"]:
        args = args[1:]
    if not args:
        raise UsageError("jax-sif run needs a program: jax-sif run python train.py")
    if not certificates.why_none():
        os.environ.setdefault(certificates.PYTHON, sys.executable)
    sys.stdout.flush()
    os.execv("/bin/sh", ["sh", str(_ENTRY), *args])
