"""The shape of a job: nodes x processes per node x devices per process."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxsif.core.errors import UsageError
from jaxsif.core.text import quoted

# The variable with a job's requested topology.
TOPOLOGY_VARIABLE = "JAX_SIF_TOPOLOGY"

# More than any machine has; for each process the verdict keeps a row.
MAX_PROCESSES = 1 << 18

_LABEL = re.compile(r"G([1-9]\d*)N([1-9]\d*)p([1-9]\d*)", re.ASCII)
_MAX_DIGITS = 7
_EXAMPLE = "write it as G8N2p4: 8 devices in all, on 2 nodes, in 4 processes in all"


@dataclass(frozen=True)
class Topology:
    """Three numbers; every other count of a job is a product of them."""

    nodes: int
    processes_per_node: int
    devices_per_process: int

    @property
    def processes(self) -> int:
        return self.nodes * self.processes_per_node

    @property
    def devices(self) -> int:
        return self.processes * self.devices_per_process

    @property
    def devices_per_node(self) -> int:
        return self.processes_per_node * self.devices_per_process

    @property
    def label(self) -> str:
        return f"G{self.devices}N{self.nodes}p{self.processes}"

    def node_index(self, rank: int) -> int:
        """The node, counted from 0, on which Slurm's block distribution puts `rank`."""
        return rank // self.processes_per_node

    def __str__(self) -> str:
        return (
            f"{self.label} ({self.nodes} nodes x {self.processes_per_node} processes"
            f" x {self.devices_per_process} devices)"
        )


def is_label(text: str) -> bool:
    """Whether a text has the form of a topology label, valid or not."""
    return _LABEL.fullmatch(text) is not None


def parse_topology(label: str) -> Topology:
    """Reads a label such as `G4N2p4`. Raises UsageError with the arithmetic."""
    match = _LABEL.fullmatch(label)
    if match is None:
        raise UsageError(f"unknown topology {quoted(label)}; {_EXAMPLE}")
    if max(map(len, match.groups())) > _MAX_DIGITS or int(match[3]) > MAX_PROCESSES:
        raise UsageError(
            f"impossible topology {quoted(label)}: more than {MAX_PROCESSES} processes;"
            f" {_EXAMPLE}"
        )
    devices, nodes, processes = map(int, match.groups())
    if processes % nodes:
        raise UsageError(
            f"impossible topology {label!r}: {processes} processes do not divide over"
            f" {nodes} nodes ({processes} / {nodes} = {processes / nodes:g});"
            f" {_EXAMPLE}"
        )
    if devices % processes:
        raise UsageError(
            f"impossible topology {label!r}: {devices} devices do not divide over"
            f" {processes} processes ({devices} / {processes} ="
            f" {devices / processes:g}); {_EXAMPLE}"
        )
    return Topology(nodes, processes // nodes, devices // processes)
