"""The collectives, and nccl-tests' formulae for their sizes and speeds."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.core.errors import UsageError

# GB is 1e9 bytes, as everywhere in nccl-tests; sizes are powers of two nevertheless.
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Collective:
    """One collective, with what nccl-tests prints for it: `redop`, `root`, the program.

    `sends_all` and `receives_all`: whether a device's buffer on that side holds the
    whole size S, or one part per device.
    """

    name: str
    redop: str
    root: int
    program: str
    sends_all: bool = True
    receives_all: bool = True
    # Whether the size must divide into one part per device.
    is_partitioned: bool = False


COLLECTIVES = {
    collective.name: collective
    for collective in (
        Collective("all-reduce", "sum", -1, "all_reduce_perf"),
        Collective(
            "all-gather",
            "none",
            -1,
            "all_gather_perf",
            sends_all=False,
            is_partitioned=True,
        ),
        Collective(
            "reduce-scatter",
            "sum",
            -1,
            "reduce_scatter_perf",
            receives_all=False,
            is_partitioned=True,
        ),
        Collective("all-to-all", "none", -1, "alltoall_perf", is_partitioned=True),
        Collective("broadcast", "none", 0, "broadcast_perf"),
        Collective("send-recv", "sum", -1, "sendrecv_perf"),
    )
}

# Name of a type -> nccl-tests' name for it, and its bytes.
DTYPES = {"f32": ("float", 4), "bf16": ("bfloat16", 2), "i32": ("int32", 4)}


@dataclass(frozen=True)
class Buffers:
    """The buffers of one device for S bytes, in elements.

    `size_bytes` is S, rounded down to what divides; `count` is nccl-tests' column of
    that name: a device's own part where there are parts, otherwise all.
    """

    size_bytes: int
    count: int
    sent: int
    received: int

    @property
    def needed_bytes(self) -> int:
        """The bytes of both buffers of one device."""
        element_bytes = self.size_bytes // max(self.sent, self.received)
        return element_bytes * (self.sent + self.received)


def buffers(collective: str, dtype: str, size_bytes: int, devices: int) -> Buffers:
    """Return a device's buffers at size S, in nccl-tests' meaning of S.

    S is the *total*: of all-gather all that a device receives (its own part times the
    devices), of reduce-scatter all that it sends, of all-to-all both. At least one
    element, and one in each part, is always there.
    """
    kind, (_, element_bytes) = COLLECTIVES[collective], DTYPES[dtype]
    whole = max(size_bytes // element_bytes, 1)
    if not kind.is_partitioned:
        return Buffers(whole * element_bytes, whole, whole, whole)
    part = max(whole // devices, 1)
    whole = part * devices
    return Buffers(
        whole * element_bytes,
        part,
        whole if kind.sends_all else part,
        whole if kind.receives_all else part,
    )


def algorithm_gb_per_s(size_bytes: int, time_us: float) -> float:
    """algbw = S / t, in GB/s of 1e9 bytes: bytes per microsecond are MB/s."""
    return size_bytes / time_us / 1e3


def bus_factor(collective: str, devices: int) -> float:
    """busbw / algbw: makes the figure independent of the number of devices n.

    A part is S/n. In a ring all-gather every device passes n-1 parts on to its
    neighbour, and so it does in a reduce-scatter: (n-1)/n S cross each link. An
    all-reduce is a reduce-scatter and then an all-gather: 2(n-1)/n S. In an all-to-all
    a device keeps one part of n and sends the rest: (n-1)/n S. A broadcast or a send
    moves S over a link: 1.
    """
    share = (devices - 1) / devices
    return {
        "all-reduce": 2 * share,
        "all-gather": share,
        "reduce-scatter": share,
        "all-to-all": share,
        "broadcast": 1.0,
        "send-recv": 1.0,
    }[collective]


def bus_gb_per_s(
    collective: str, size_bytes: int, time_us: float, devices: int
) -> float:
    """busbw = algbw x factor, to be compared with the speed of a link."""
    factor = bus_factor(collective, devices)
    return algorithm_gb_per_s(size_bytes, time_us) * factor


def mean_over_ranks(times_us: Sequence[Sequence[float]]) -> list[float]:
    """The time of each trial: the mean of the ranks, as nccl-tests' default `-a 1`."""
    return [statistics.fmean(of_trial) for of_trial in zip(*times_us, strict=False)]


def interquartile(values: Sequence[float]) -> float:
    """How far the middle half of the values spreads; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first


def parse_size(text: str) -> int:
    """Bytes, from `8`, `64K`, `1G` as nccl-tests takes them. Raises UsageError."""
    number, unit = text, ""
    if text[-1:].upper() in ("K", "M", "G"):
        number, unit = text[:-1], text[-1].upper()
    if not number.isdecimal() or not int(number):
        raise UsageError(f"{text!r} is no size; write 8, 64K, 16M or 1G")
    return int(number) * _UNITS[unit]
