"""Slurm's configuration files, and the parser of node states; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

CPUS_PER_NODE = 16
# Same as a node with four A100; jobs may request it, and it is not enforced.
MEMORY_MB_PER_NODE = 512000
GPU_TYPE = "a100"
LOGIN = "login"
LOGIN_ADDRESS = "10.77.0.1"
LOG_FOLDER = "/var/log/slurm"
# The checkout, mounted again at a path without blanks.
CHECKOUT_MOUNT = "/opt/checkout"
# Idle or at work. Any other state, or a suffix such as `idle*`, is neither.
_FIT_STATES = frozenset(("idle", "mixed", "allocated", "completing"))

_TEMPLATE = Path(__file__).with_name("slurm.conf.template")


@dataclass(frozen=True)
class ClusterShape:
    """The size of a cluster."""

    nodes: int
    gpus_per_node: int
    # A switch for each node, in the reverse order of the nodes' names.
    has_reversed_switches: bool = False

    def __str__(self) -> str:
        plural = "" if self.nodes == 1 else "s"
        order = ", switches in reverse order" if self.has_reversed_switches else ""
        return f"{self.nodes} node{plural} with {self.gpus_per_node} GPUs each{order}"

    @property
    def node_names(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    @property
    def addresses(self) -> dict[str, str]:
        compute = {
            name: f"10.77.1.{number}" for number, name in enumerate(self.node_names, 1)
        }
        return {LOGIN: LOGIN_ADDRESS, **compute}

    @property
    def device_names(self) -> tuple[str, ...]:
        return tuple(f"gpu{number}" for number in range(self.gpus_per_node))


def _range(prefix: str, first: int, last: int) -> str:
    return f"{prefix}{first}" if first == last else f"{prefix}[{first}-{last}]"


def node_range(shape: ClusterShape) -> str:
    return _range("node", 1, shape.nodes)


def slurm_conf(shape: ClusterShape) -> str:
    node_line = (
        f"NodeName={node_range(shape)} CPUs={CPUS_PER_NODE}"
        f" RealMemory={MEMORY_MB_PER_NODE} Gres=gpu:{GPU_TYPE}:{shape.gpus_per_node}"
        f" Features={GPU_TYPE} State=UNKNOWN"
    )
    return Template(_TEMPLATE.read_text()).substitute(
        login_address=LOGIN_ADDRESS,
        checkout_mount=CHECKOUT_MOUNT,
        node_lines=node_line,
        topology="topology/tree" if shape.has_reversed_switches else "topology/flat",
    )


def topology_conf(shape: ClusterShape) -> str:
    """A tree of switches, by which Slurm orders tasks; for topology/tree only."""
    leaves = [
        f"SwitchName=leaf{number} Nodes={name}"
        for number, name in enumerate(reversed(shape.node_names), 1)
    ]
    return "\n".join(
        [*leaves, f"SwitchName=top Switches={_range('leaf', 1, shape.nodes)}\n"]
    )


def gres_conf(shape: ClusterShape) -> str:
    return (
        "AutoDetect=off\n"
        f"NodeName={node_range(shape)} Name=gpu Type={GPU_TYPE}"
        f" File={_range('/dev/gpu', 0, shape.gpus_per_node - 1)}\n"
    )


def hosts_file(shape: ClusterShape) -> str:
    lines = [f"{address} {name}" for name, address in shape.addresses.items()]
    return "\n".join(["127.0.0.1 localhost", "::1 localhost", *lines, ""])


def fit(state: str) -> bool:
    return _FIT_STATES.issuperset(state.split("+"))


def node_states(scontrol_output: str) -> dict[str, str]:
    """The state by node, as `idle` or `down+completing`, from `show node --oneliner`.

    sinfo prints one state per node, `completing` even for one that is down.
    """
    found = re.findall(
        r"^NodeName=(\S+) .*? State=(\S+)", scontrol_output, flags=re.MULTILINE
    )
    return {name: state.lower() for name, state in found}
