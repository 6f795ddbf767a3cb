"""Compares measured with expected bandwidth and derives the likely cause."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsif.bandwidth import hardware, results
from jaxsif.bandwidth.baseline import Baseline, Key
from jaxsif.bandwidth.hardware import Expectation, Node
from jaxsif.bandwidth.results import Point
from jaxsif.core.evidence import WARN_RATIO
from jaxsif.core.history import Histories
from jaxsif.core.records import Reported, TransportRecord
from jaxsif.core.text import format_size, plural
from jaxsif.core.topology import Topology

# NCCL over TCP reaches no more than this, on any network (GB/s).
_TCP_GB_PER_S = 6.0
# Without GPUDirect RDMA, or with the card behind the CPU: 16 of 25 GB/s.
_NO_GPUDIRECT = (0.55, 0.75)
_TOLERANCE = 0.06


@dataclass(frozen=True)
class RatedPoint:
    """A measured point, and its expected speed if known."""

    point: Point
    expectation: Expectation | None

    @property
    def ratio(self) -> float | None:
        """Measured divided by expected."""
        if self.expectation is None:
            return None
        return self.point.bus_gb_per_s / self.expectation.gb_per_s

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to report; true as well if nothing is expected."""
        if self.expectation is None or self.ratio is None:
            return True
        least = self.expectation.least_gb_per_s
        return self.ratio >= WARN_RATIO or self.point.bus_gb_per_s >= least

    @property
    def description(self) -> str:
        """`all-reduce 12.3 GB/s busbw at 64 MiB, 0.93 of the expected 13.2`"""
        point = self.point
        dtype = "" if point.dtype == "f32" else f" {point.dtype}"
        text = (
            f"{point.collective}{dtype} {point.bus_gb_per_s:.3g} GB/s busbw at"
            f" {format_size(point.size_bytes)}"
        )
        if self.expectation is None:
            return text
        return (
            f"{text}, {self.ratio:.2f} of the expected {self.expectation.gb_per_s:.3g}"
        )


def rate_points(
    histories: Histories, topology: Topology, baseline: Baseline | None
) -> list[RatedPoint]:
    """Per test, the largest size for which a speed is expected, or the largest."""
    found = results.points(histories)
    nodes = hardware.nodes(histories)
    chosen = []
    for top in results.largest(found):
        of_same_test = [point for point in found if point.test == top.test]
        of_same_test.sort(key=lambda point: -point.size_bytes)
        expected = (
            RatedPoint(point, _expected(point, topology, nodes, baseline))
            for point in of_same_test
        )
        # A baseline may come from a run that ended at a smaller size.
        known = next((m for m in expected if m.expectation), None)
        chosen.append(known or RatedPoint(top, None))
    return chosen


def headline(
    histories: Histories, topology: Topology, baseline: Baseline | None
) -> str:
    """The speed for the verdict's line; empty if none was measured."""
    points = rate_points(histories, topology, baseline)
    first = results.headline(m.point for m in points)
    if first is None or topology.devices == 1:
        return ""
    measured = next(m for m in points if m.point == first)
    if measured.expectation:
        return measured.description
    name = hardware.hardware_name(hardware.nodes(histories))
    return (
        f"{measured.description} (no expected value for {name}; learn one: jax-sif baseline"
        " add)"
    )


def _expected(
    point: Point,
    topology: Topology,
    nodes: Sequence[Node],
    baseline: Baseline | None,
) -> Expectation | None:
    """The baseline's value, or else the one for the hardware."""
    if baseline is not None:
        name = hardware.hardware_name(nodes)
        key = Key(name, topology.label, point.collective, point.dtype, point.size_bytes)
        value = baseline.expected_gb_per_s(key)
        if value is not None:
            runs = baseline.runs[key]
            source = f"{baseline.name}, {plural(len(runs), 'run')}"
            return Expectation(value, source, min(runs))
    return hardware.expected(point.collective, point.size_bytes, topology, nodes)


def likely_cause(
    measured: RatedPoint, topology: Topology, ranks: Mapping[int, Reported]
) -> tuple[str, str]:
    """The likely cause of a low speed, and the remedy; observed facts before guesses.

    Returns text for the finding, which may be empty, and the remedy.
    """
    nodes = hardware.nodes(ranks)
    down = [
        f"{nic.name} on {node.name}"
        for node in nodes
        for nic in node.compute_nics
        if not nic.is_active
    ]
    transports = [
        record
        for reported in ranks.values()
        for record in reported.measured(TransportRecord)
    ]
    if topology.nodes > 1 and down:
        return (
            f"not active: {', '.join(down[:8])}",
            "check cable, switch port and subnet manager there: jax-sif doctor on"
            " that node shows more",
        )
    fast = any(
        nic.kind != hardware.ETHERNET and nic.is_active
        for node in nodes
        for nic in node.compute_nics
    )
    if any(r.kind == "sockets" and r.reported_by == "nccl" for r in transports):
        if fast:
            return ("NCCL uses TCP instead of InfiniBand", _HINT_RDMA)
        return (
            "NCCL uses TCP",
            "no RDMA card was found on these nodes; should there be one?",
        )
    if any(r.gpudirect is False for r in transports):
        return ("NCCL works without GPUDirect RDMA", _HINT_GPUDIRECT)
    return _cause_from_ratio(measured, topology, nodes)


_HINT_RDMA = (
    "does the container see /dev/infiniband, is NCCL_IB_DISABLE unset, does"
    " NCCL_SOCKET_IFNAME or NCCL_IB_HCA name existing devices? NCCL_DEBUG=INFO shows it"
)
_HINT_GPUDIRECT = (
    "is the module nvidia_peermem loaded on the nodes, and does each card hang off the"
    " same PCIe switch as its GPU? nvidia-smi topo -m shows it"
)
_HINT_COMPARE = (
    "compare with a run on other nodes; NCCL_DEBUG=INFO shows rings and networks, and"
    " jax-sif doctor on each node its links"
)
_HINT_LOAD = (
    "is something else running on these nodes? Compare with a run on others, and learn"
    " the baseline from several runs"
)


def _cause_from_ratio(
    measured: RatedPoint, topology: Topology, nodes: Sequence[Node]
) -> tuple[str, str]:
    """Guess the cause from the figure itself; worded as a guess."""
    ratio = measured.ratio
    is_gpu = any(node.gpu for node in nodes)
    if not is_gpu:
        return "", _HINT_LOAD
    if ratio is None or topology.nodes == 1:
        return "", _HINT_COMPARE
    if measured.point.bus_gb_per_s <= _TCP_GB_PER_S:
        return "it looks like TCP instead of InfiniBand", _HINT_RDMA
    count = min((len(node.compute_nics) for node in nodes), default=0)
    if count > 2 and abs(ratio - 1 / count) <= _TOLERANCE / 2:
        return f"it looks like one network card of {count}", _HINT_ALL_NICS
    if abs(ratio - 0.5) <= _TOLERANCE / 2:
        return "it looks like half of the network cards", _HINT_ALL_NICS
    if _NO_GPUDIRECT[0] <= ratio <= _NO_GPUDIRECT[1]:
        return "it looks like no GPUDirect RDMA", _HINT_GPUDIRECT
    return "", _HINT_COMPARE


_HINT_ALL_NICS = (
    "does NCCL_IB_HCA name all cards, and does the container see them all? NCCL_DEBUG=INFO"
    " lists those in use"
)
