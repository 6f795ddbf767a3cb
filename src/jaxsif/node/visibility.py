"""Whether this task sees the GPUs that it was given and that were asked for; runs in each rank and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.core.errors import UsageError
from jaxsif.core.problem import Trouble
from jaxsif.core.slurm_env import (
    GPUS_PER_TASK,
    JOB_GPUS,
    LOCAL_RANK,
    STEP_GPUS,
    STEP_NODE_LIST,
)
from jaxsif.core.topology import TOPOLOGY_VARIABLE, Topology, parse_topology
from jaxsif.node.host import number
from jaxsif.node.host_info import Surroundings

_NONE_VISIBLE = ("", "NoDevFiles", "-1")


def visibility(surroundings: Surroundings) -> Iterator[Trouble]:
    """The GPUs this task sees, against those that Slurm gave and the topology asks for.

    Where CPU devices stand in for GPUs the same variables are set, and count.
    """
    if not (surroundings.wants_gpus or surroundings.has_stand_ins):
        return
    listed = surroundings.environment.get("CUDA_VISIBLE_DEVICES")
    visible = visible_gpus(surroundings)
    if visible == 0:
        # Without the variable it is the driver that is missing.
        if listed is not None and were_gpus_asked_for(surroundings):
            yield Trouble(
                "gpu-visibility",
                f"CUDA_VISIBLE_DEVICES={listed!r} hides every GPU from this task",
                "ask Slurm for GPUs (--gpus-per-node), or unset it",
            )
        return
    if listed is None and surroundings.has_stand_ins:
        return
    yield from _odd_list(surroundings, listed or "", visible)
    yield from _too_few(surroundings, visible)
    yield from _wrong_ordinals(surroundings, visible)


def visible_gpus(surroundings: Surroundings) -> int:
    """How many GPUs CUDA would show to this process."""
    listed = surroundings.environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return sum(
            bool(re.fullmatch(r"nvidia\d+", name))
            for name in surroundings.names("/dev")
        )
    # CUDA sees nothing behind an invalid entry (CUDA Programming Guide, "CUDA
    # Environment Variables").
    entries = listed.split(",")
    valid = [entry.strip() not in _NONE_VISIBLE for entry in entries]
    return valid.index(False) if False in valid else len(valid)


def were_gpus_asked_for(surroundings: Surroundings) -> bool:
    """Whether Slurm, the user or the topology speaks of GPUs."""
    signs = (STEP_GPUS, JOB_GPUS, "CUDA_VISIBLE_DEVICES")
    if any(surroundings.variable(sign) not in _NONE_VISIBLE for sign in signs):
        return True
    # There the topology's devices are not GPUs.
    return not surroundings.has_stand_ins and _topology(surroundings) is not None


def _odd_list(
    surroundings: Surroundings, listed: str, visible: int
) -> Iterator[Trouble]:
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    twice = sorted({entry for entry in entries if entries.count(entry) > 1})
    if twice:
        yield Trouble(
            "gpu-visibility",
            f"CUDA_VISIBLE_DEVICES={listed!r} names GPU {', '.join(twice)} more than"
            " once",
            "name each GPU once, or leave the variable to Slurm",
        )
    # The job's GPUs, in a step, are those of the node that the batch script runs on.
    given = [gpu for gpu in surroundings.variable(STEP_GPUS).split(",") if gpu]
    if entries and given and visible > len(given):
        yield Trouble(
            "gpu-visibility",
            f"CUDA_VISIBLE_DEVICES={listed!r} names {_gpus(visible)}, Slurm gave"
            f" {len(given)} on this node ({','.join(given)})",
            "leave CUDA_VISIBLE_DEVICES to Slurm; others' jobs may use the rest",
            is_fatal=False,
        )


def _too_few(surroundings: Surroundings, visible: int) -> Iterator[Trouble]:
    if _has_chosen_devices(surroundings):
        return
    wanted = _gpus_per_task(surroundings)
    topology = _topology(surroundings)
    if wanted is not None and visible < wanted:
        reason = f"--gpus-per-task asks for {wanted}"
    elif topology and visible < topology.devices_per_process:
        reason = (
            f"{topology.label} asks for {topology.devices_per_process} in each process"
        )
    else:
        return
    yield Trouble(
        "gpu-visibility",
        f"this task sees {_gpus(visible)} ({_listed(surroundings)}), {reason}",
        "ask with --gpus-per-node, without --gpus-per-task and --gpu-bind: every task"
        " then sees all GPUs of the node, and the image shares them out",
    )


def _wrong_ordinals(surroundings: Surroundings, visible: int) -> Iterator[Trouble]:
    """JAX counts within what is visible: the trap of `invalid device ordinal`."""
    listed = surroundings.variable("JAX_LOCAL_DEVICE_IDS")
    if listed:
        ordinals = [o.strip() for o in listed.split(",")]
        source, remedy = (
            f"JAX_LOCAL_DEVICE_IDS={listed}",
            "count from 0 within CUDA_VISIBLE_DEVICES, or leave the variable to the"
            " image",
        )
    elif surroundings.variable(STEP_NODE_LIST) and not surroundings.has_stand_ins:
        # JAX's own rule under Slurm (jax-ml/jax#23452).
        ordinals = [surroundings.variable(LOCAL_RANK)]
        source, remedy = (
            f"JAX takes this task's local rank for one, {ordinals[0]}",
            "start the program with `singularity run`, which sets JAX_LOCAL_DEVICE_IDS",
        )
    else:
        return
    wrong = [o for o in ordinals if o.isdecimal() and int(o) >= visible]
    if wrong:
        yield Trouble(
            "gpu-visibility",
            f"this task sees {_gpus(visible)} ({_listed(surroundings)}), so there is no"
            f" GPU number {', '.join(wrong)}; {source}",
            remedy,
        )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _listed(surroundings: Surroundings) -> str:
    listed = surroundings.environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return "CUDA_VISIBLE_DEVICES is not set"
    return f"CUDA_VISIBLE_DEVICES={listed}"


def _has_chosen_devices(surroundings: Surroundings) -> bool:
    """Whether the devices that stand in for GPUs are as many as were asked for."""
    topology = _topology(surroundings)
    devices = number(surroundings, "JAX_NUM_CPU_DEVICES")
    return bool(
        surroundings.has_stand_ins
        and topology
        and devices == topology.devices_per_process
    )


def _gpus_per_task(surroundings: Surroundings) -> int | None:
    """From `2`, `gpu:2`, `a100:2` or `gpu:a100:2`."""
    match = re.fullmatch(r"(?:[^,]*:)?(\d+)", surroundings.variable(GPUS_PER_TASK))
    return int(match[1]) if match else None


def _topology(surroundings: Surroundings) -> Topology | None:
    try:
        return parse_topology(surroundings.variable(TOPOLOGY_VARIABLE))
    except UsageError:
        return None
