"""Errors and problems for users, exit statuses, and the guard of the kit's own work."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

PASS = 0
FAIL = 1
WRONG_USAGE = 2
COULD_NOT_TELL = 3
# Of `explain`: that something failed, and not why.
SYMPTOMS_ONLY = 4
# Same as PASS, and the program requests a requeue; sysexits.h calls it EX_TEMPFAIL.
REQUEUE = 75

VERBOSE_VARIABLE = "JAX_SIF_VERBOSE"


class KitError(Exception):
    """A problem that the user can fix: its text has the value found, and a remedy."""

    exit_status = FAIL


class UsageError(KitError):
    """The command was called wrongly."""

    exit_status = WRONG_USAGE


class CouldNotTell(KitError):
    """There was nothing to check; never counts as a pass."""

    exit_status = COULD_NOT_TELL


@dataclass(frozen=True)
class Problem:
    """A problem: its kind (explained in docs), the value found, and a remedy.

    `is_fatal`: a program cannot work with it; otherwise it may work, slowly or by luck.
    A diagnostic treats both as failures. `ranks` are the affected ranks, if different
    from the reporting one.
    """

    kind: str
    text: str
    remedy: str
    is_fatal: bool = True
    ranks: tuple[int, ...] = ()


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
