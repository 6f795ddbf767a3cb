"""The NVIDIA driver's errors in the kernel log (Xid)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from jaxsif.core.problem import Problem
from jaxsif.node.host_info import HostInfo
from jaxsif.node.isolate import CheckSkipped

# Errors of the last day indicate a failing GPU; very recent ones a failed GPU. A
# repaired GPU must not count as failed for a day.
RECENT_S = 24 * 3600.0
FRESH_S = 15 * 60.0

# Errors of hardware and driver, and whether the GPU needs a reset or repair; others
# (13, 31, 43, 45, ...) come from programs. (docs.nvidia.com/deploy/xid-errors)
_HARDWARE = {
    46: ("the GPU stopped processing", True),
    48: ("double-bit ECC error", True),
    61: ("internal microcontroller halt", True),
    62: ("internal microcontroller halt", True),
    63: ("memory row remapped or page retired", False),
    64: ("memory row or page could not be put out of use", True),
    74: ("NVLink error", False),
    79: ("the GPU has fallen off the bus", True),
    92: ("many corrected ECC errors", False),
    94: ("contained memory error", False),
    95: ("uncontained memory error", True),
    109: ("context switch timeout", False),
    110: ("security fault", True),
    119: ("the GPU's system processor does not respond", True),
    120: ("the GPU's system processor failed", True),
    140: ("unrecovered ECC error", True),
    143: ("the GPU failed to start", True),
}

# One record of /dev/kmsg: `6,1234,5678901,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=...`,
# the third number being microseconds since the boot.
_XID = re.compile(
    r"^\d+,\d+,(\d+),[^;]*;NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Xid:
    """One error, its GPU's PCI bus id and its age."""

    bus_id: str
    number: int
    age_s: float


def read_xids(host_info: HostInfo) -> list[Xid]:
    """The errors since boot that the kernel still keeps. Raises CheckSkipped."""
    uptime = (host_info.read("/proc/uptime") or "").split()
    if not uptime:
        raise CheckSkipped("/proc/uptime cannot be read")
    log = _read_log(host_info)
    return [
        Xid(bus_id, int(xid), float(uptime[0]) - int(since_boot_us) / 1e6)
        for since_boot_us, bus_id, xid in _XID.findall(log)
    ]


def _read_log(host_info: HostInfo) -> str:
    try:
        descriptor = os.open(host_info.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise CheckSkipped(f"/dev/kmsg cannot be read ({error.strerror})") from error
    pieces = []
    try:
        while True:
            try:
                # The kernel gives one record at a time.
                piece = os.read(descriptor, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the oldest were overwritten; go on with the next
            except OSError as error:
                raise CheckSkipped(f"/dev/kmsg: {error.strerror}") from error
            if not piece:
                break
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode(errors="replace")


def xid_problems(xids: list[Xid]) -> Iterator[Problem]:
    """Hardware errors of the last day, one problem per GPU and kind."""
    counts = Counter(
        (x.bus_id, x.number)
        for x in xids
        if x.number in _HARDWARE and x.age_s < RECENT_S
    )
    for (bus_id, number), count in counts.items():
        meaning, needs_reset = _HARDWARE[number]
        age_s = min(x.age_s for x in xids if (x.bus_id, x.number) == (bus_id, number))
        yield Problem(
            "gpu-xid",
            f"GPU at PCI {bus_id}: Xid {number}, {meaning}, {count} times in the last"
            f" day, the last {_ago(age_s)} ago",
            "drain the node and reset the GPU, or reboot; if it recurs, have the GPU"
            " replaced"
            if needs_reset
            else "watch this GPU; reset it when the node is empty",
            is_fatal=needs_reset and age_s < FRESH_S,
        )


def _ago(age_s: float) -> str:
    return f"{age_s / 60:.0f} min" if age_s < 7200 else f"{age_s / 3600:.0f} h"
