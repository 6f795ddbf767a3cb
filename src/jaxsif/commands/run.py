"""`jax-sif run`: starts a program as the image's entry does, where there is no image; runs in every rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.launch import certificates

_ENTRY = Path(__file__).parent.parent / "entry"
_USAGE = """usage: jax-sif run PROGRAM [ARGUMENT ...]

Starts a program as `singularity run` of the image does: with a coordinator port of its
own, its devices, and the reasons at JAX_SIF_VERBOSE=1. For environments without the
image: srun ... jax-sif run python train.py"""


def main(arguments: Sequence[str]) -> int:
    """Becomes the program; every argument is its own."""
    words = list(arguments)
    if words in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("jax-sif run needs a program: jax-sif run python train.py")
    if not certificates.why_none():
        os.environ.setdefault(certificates.PYTHON, sys.executable)
    sys.stdout.flush()
    os.execv("/bin/sh", ["sh", str(_ENTRY), *words])
