"""Chooses GPUs or CPU devices for the ranks of a local launch, with the reason."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsif.core.errors import UsageError
from jaxsif.core.paths import VENV
from jaxsif.core.text import plural
from jaxsif.core.topology import Topology

CHOICES = ("auto", "cpu", "gpu")

PLATFORMS = "JAX_PLATFORMS"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
CPU_DEVICES = "JAX_NUM_CPU_DEVICES"
# The value of CPU_DEVICES that the mini cluster's TaskProlog set, not the user.
CPU_DEVICES_OF_MINICLUSTER = "MINICLUSTER_CPU_DEVICES"

_IMAGE = Path(VENV)
_NO_GPU = ("", "NoDevFiles", "-1")


@dataclass(frozen=True)
class Devices:
    """The devices of the topology, and why they were chosen.

    `gpus` are the names of the GPUs to distribute, in the format of
    CUDA_VISIBLE_DEVICES; empty for CPU devices.
    """

    reason: str
    gpus: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "gpu" if self.gpus else "cpu"


@dataclass(frozen=True)
class Machine:
    """The GPUs of the machine, and whether JAX can use them."""

    gpus: tuple[str, ...]
    has_cuda: bool = True


def detect_gpus(environment: Mapping[str, str]) -> Machine:
    """The GPUs that a program here would see.

    Whether JAX has CUDA is known in an image only.
    """
    plugins = list(_IMAGE.glob("lib/python3*/site-packages/jax_plugins/xla_cuda*"))
    return Machine(_visible_gpus(environment), bool(plugins) or not _IMAGE.exists())


def _visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    listed = environment.get(VISIBLE_GPUS)
    if listed is None:
        found = (re.fullmatch(r"nvidia(\d+)", p.name) for p in Path("/dev").iterdir())
        return tuple(sorted((name[1] for name in found if name), key=int))
    names = [name.strip() for name in listed.split(",")]
    # CUDA ignores everything after an invalid entry.
    invalid = [i for i, name in enumerate(names) if name in _NO_GPU]
    return tuple(names[: invalid[0]] if invalid else names)


def choose(
    requested: str, topology: Topology, environment: Mapping[str, str], machine: Machine
) -> Devices:
    """The devices for a topology.

    Args:
      requested: one of CHOICES.
      environment: the caller's.

    Raises UsageError when the devices are not available, or contradict a variable.
    """
    platform = environment.get(PLATFORMS, "").split(",")[0]
    _check_platform(requested, platform, environment)
    if requested == "gpu":
        return _gpus("--devices gpu", topology, machine.gpus)
    if requested == "cpu":
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


def _check_platform(
    requested: str, platform: str, environment: Mapping[str, str]
) -> None:
    if requested == "auto" or not platform:
        return
    if (requested == "cpu") == (platform == "cpu"):
        return
    raise UsageError(
        f"--devices {requested} contradicts {PLATFORMS}={environment[PLATFORMS]!r};"
        " remove one of them"
    )


def _gpus(reason: str, topology: Topology, shown: Sequence[str]) -> Devices:
    if len(shown) < topology.devices:
        raise UsageError(
            f"too few GPUs for {reason}: {topology} needs {topology.nodes} x"
            f" {topology.processes_per_node} x {topology.devices_per_process} ="
            f" {topology.devices}, this machine shows {len(shown)}"
            f" ({','.join(shown) or 'none'}); choose a smaller topology, or use CPU"
            " devices instead: --devices cpu"
        )
    return Devices(reason, tuple(shown[: topology.devices]))


def _cpus(reason: str, topology: Topology, environment: Mapping[str, str]) -> Devices:
    chosen = environment.get(CPU_DEVICES)
    is_callers = chosen != environment.get(CPU_DEVICES_OF_MINICLUSTER)
    if chosen and is_callers and chosen != str(topology.devices_per_process):
        raise UsageError(
            f"{CPU_DEVICES} is {chosen!r}, but {topology.label} has"
            f" {topology.devices_per_process} devices in each process"
            f" ({topology.devices} / {topology.processes}); unset it, or choose another"
            " topology"
        )
    return Devices(reason)


def _count(gpus: Sequence[str]) -> str:
    return plural(len(gpus), "GPU")
