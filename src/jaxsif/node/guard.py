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
def harmless(what: str) -> Iterator[None]:
    """Suppress exceptions of the block; `what` describes it in a note.

    Only for the kit's own work, never around the program's code.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get(VERBOSE_VARIABLE) == "1":
            note = f"jax-sif: {what} failed, and the program goes on: {error!r}"
            say_on_stderr(note)


def guarded(what: str, check: Callable[[], Iterable[Problem]]) -> Iterator[Problem]:
    """Yield a check's problems; stop silently if it fails."""
    with harmless(what):
        yield from check()


def say_on_stderr(text: str) -> None:
    """Print a line; the program may have closed or replaced the stream."""
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)
