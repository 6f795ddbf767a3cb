"""Errors shown to users, with the command's exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

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
