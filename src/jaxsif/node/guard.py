"""Keep errors in the kit's own work from ending a healthy program."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from jaxsif.core.errors import Problem

VERBOSE_VARIABLE = "JAX_SIF_VERBOSE"


@contextlib.contextmanager
def suppress_errors(task: str) -> Iterator[None]:
    """Suppress exceptions of the block; `task` describes it in a note.

    Only for the kit's own work, never around the program's code.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get(VERBOSE_VARIABLE) == "1":
            note = f"jax-sif: {task} failed, and the program goes on: {error!r}"
            print_to_stderr(note)


def guarded(task: str, check: Callable[[], Iterable[Problem]]) -> Iterator[Problem]:
    """Yield a check's problems; stop silently if it fails."""
    with suppress_errors(task):
        yield from check()


def print_to_stderr(text: str) -> None:
    """Print a line; the program may have closed or replaced the stream."""
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)
