"""What the kit does on its own account never ends a program that is well; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from jaxsif.core.problem import Problem

VERBOSE_VARIABLE = "JAX_SIF_VERBOSE"


@contextlib.contextmanager
def harmless(what: str) -> Iterator[None]:
    """Goes on after the block where it raises. `what` it does, for a note.

    Only the kit's own work belongs in it: an exception of the program's is an answer.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get(VERBOSE_VARIABLE) == "1":
            note = f"jax-sif: {what} failed, and the program goes on: {error!r}"
            say_on_stderr(note)


def guarded(what: str, check: Callable[[], Iterable[Problem]]) -> Iterator[Problem]:
    """What a check finds; one that cannot be made finds nothing more."""
    with harmless(what):
        yield from check()


def say_on_stderr(text: str) -> None:
    """A line for people. The program may have closed or replaced where it goes."""
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)
