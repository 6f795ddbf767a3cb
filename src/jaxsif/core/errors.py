"""Errors and problems shown to users, and the exit statuses of commands."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

PASS = 0
FAIL = 1
WRONG_USAGE = 2
COULD_NOT_TELL = 3
# Same as PASS, and the program requests a requeue; sysexits.h calls it EX_TEMPFAIL.
REQUEUE = 75


class KitError(Exception):
    """A problem that the user can fix. The text names it, the value found, and a remedy."""

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

    `is_fatal`: a program cannot work with it; otherwise it may work, slowly or by luck. A
    diagnostic treats both as failures. `ranks` are the affected ranks, if different from
    the reporting one.
    """

    kind: str
    text: str
    remedy: str
    is_fatal: bool = True
    ranks: tuple[int, ...] = ()
