"""The errors a person can meet, each with the exit status it ends the command with; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

PASS = 0
FAIL = 1
WRONG_USAGE = 2
COULD_NOT_TELL = 3
# As PASS, and the program asks to be started again; sysexits.h calls it EX_TEMPFAIL.
REQUEUE = 75


class KitError(Exception):
    """Something a person can mend. The text says what, what was got, and what to do."""

    exit_status = FAIL


class UsageError(KitError):
    """The command was called wrongly."""

    exit_status = WRONG_USAGE


class CouldNotTell(KitError):
    """There was nothing to judge; never to be taken for a pass."""

    exit_status = COULD_NOT_TELL
