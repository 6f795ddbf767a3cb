"""Start times of this process and of the image's entry, by the kernel's clock."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

# Written by the image's entry: seconds since the machine booted.
ENTERED_VARIABLE = "JAX_SIF_ENTRY_START"

_STAT = Path("/proc/self/stat")
# Field 22 of proc(5), counted from the one behind the program's name.
_START_TICKS = 19


def began_s(stat: Path = _STAT) -> float | None:
    """Start of this process, in seconds since 1970; None if unknown.

    A program started by `exec` keeps its process: this is before the entry.
    """
    try:
        # The name may hold blanks and parentheses.
        fields = stat.read_text().rpartition(")")[2].split()
        ticks = int(fields[_START_TICKS])
        return _since_1970(ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def entered_s(environment: Mapping[str, str], began: float | None) -> float | None:
    """Start of the image's entry in this process; None without one.

    A time before the process start is from another entry, whose variable was inherited.
    """
    try:
        entered = _since_1970(float(environment[ENTERED_VARIABLE]))
    except (KeyError, ValueError, OSError, AttributeError):
        return None
    # Both are whole hundredths of a second.
    return None if began is not None and entered < began - 0.02 else entered


def _since_1970(uptime_s: float) -> float:
    passed_s = time.clock_gettime(time.CLOCK_BOOTTIME) - uptime_s
    return round(time.time() - passed_s, 3)
