"""GPUs or CPU devices for the ranks of a local launch, and the reason; runs on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import Topology

CHOICES = ("auto", "cpu", "gpu")

PLATFORMS = "JAX_PLATFORMS"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
CPU_DEVICES = "JAX_NUM_CPU_DEVICES"
# The mini cluster's TaskProlog writes here what it chose for CPU_DEVICES itself, which
# is not what the user chose.
CPU_DEVICES_OF_MINICLUSTER = "MINICLUSTER_CPU_DEVICES"

_IMAGE = Path("/opt/jax")
_NO_GPU = ("", "NoDevFiles", "-1")


@dataclass(frozen=True)
class Devices:
    """What stands for the devices of the topology, and why.

    `gpus` are the names of the machine's GPUs that are shared out, as
    CUDA_VISIBLE_DEVICES has them; none where CPU devices do.
    """

    reason: str
    gpus: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "gpu" if self.gpus else "cpu"


@dataclass(frozen=True)
class Machine:
    """What of the machine decides: the GPUs it shows, and whether JAX can use them."""

    gpus: tuple[str, ...]
    has_cuda: bool = True


def detect_gpus(environment: Mapping[str, str]) -> Machine:
    """The GPUs that a program here would see. Only an image tells what its JAX can do."""
    plugins = list(_IMAGE.glob("lib/python3*/site-packages/jax_plugins/xla_cuda*"))
    return Machine(_visible_gpus(environment), bool(plugins) or not _IMAGE.exists())


def _visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    listed = environment.get(VISIBLE_GPUS)
    if listed is None:
        found = (re.fullmatch(r"nvidia(\d+)", p.name) for p in Path("/dev").iterdir())
        return tuple(sorted((name[1] for name in found if name), key=int))
    names = [name.strip() for name in listed.split(",")]
    # CUDA sees nothing behind an invalid entry.
    invalid = [i for i, name in enumerate(names) if name in _NO_GPU]
    return tuple(names[: invalid[0]] if invalid else names)


def choose(
    asked: str, topology: Topology, environment: Mapping[str, str], machine: Machine
) -> Devices:
    """The devices for a topology.

    Args:
      asked: one of CHOICES.
      environment: what the user set.

    Raises UsageError when what was asked for cannot be, or contradicts what was set.
    """
    platform = environment.get(PLATFORMS, "").split(",")[0]
    _refuse_contradiction(asked, platform, environment)
    if asked == "gpu":
        return _gpus("--devices gpu", topology, machine.gpus)
    if asked == "cpu":
        return _cpus("--devices cpu", topology, environment)
    if platform:
        reason = f"{PLATFORMS}={environment[PLATFORMS]} is set"
        if platform == "cpu":
            return _cpus(reason, topology, environment)
        return _gpus(reason, topology, machine.gpus)
    shown = f"this machine shows {_count(machine.gpus)}, {topology.label} needs"
    reason = f"{shown} {topology.devices}"
    if len(machine.gpus) < topology.devices:
        return _cpus(reason, topology, environment)
    if not machine.has_cuda:
        return _cpus("this image's JAX has no CUDA", topology, environment)
    return _gpus(reason, topology, machine.gpus)


def _refuse_contradiction(
    asked: str, platform: str, environment: Mapping[str, str]
) -> None:
    if asked == "auto" or not platform or (asked == "cpu") == (platform == "cpu"):
        return
    raise UsageError(
        f"--devices {asked} contradicts {PLATFORMS}={environment[PLATFORMS]!r}; leave"
        " out the one, or unset the other"
    )


def _gpus(reason: str, topology: Topology, shown: Sequence[str]) -> Devices:
    if len(shown) < topology.devices:
        raise UsageError(
            f"too few GPUs for {reason}: {topology} needs {topology.nodes} x"
            f" {topology.processes_per_node} x {topology.devices_per_process} ="
            f" {topology.devices}, this machine shows {len(shown)}"
            f" ({','.join(shown) or 'none'}); choose a smaller topology, or let CPU"
            " devices stand in for GPUs with --devices cpu"
        )
    return Devices(reason, tuple(shown[: topology.devices]))


def _cpus(reason: str, topology: Topology, environment: Mapping[str, str]) -> Devices:
    chosen = environment.get(CPU_DEVICES)
    is_users = chosen != environment.get(CPU_DEVICES_OF_MINICLUSTER)
    if chosen and is_users and chosen != str(topology.devices_per_process):
        raise UsageError(
            f"{CPU_DEVICES} is {chosen!r}, and {topology.label} has"
            f" {topology.devices_per_process} devices in each process"
            f" ({topology.devices} / {topology.processes}); unset it, or choose another"
            " topology"
        )
    return Devices(reason)


def _count(gpus: Sequence[str]) -> str:
    return "1 GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
