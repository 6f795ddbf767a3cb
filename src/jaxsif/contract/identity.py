"""Who a rank is: its job, step, restart, number and node, read from the launcher's variables; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from jaxsif.contract.errors import UsageError

# The whole contract with the launcher. `srun` sets these; nothing else in the package
# names a variable of Slurm's. (The image's entry and local_devices.sh, which must start
# in milliseconds, speak to the shell's environment directly.)
CLUSTER = "SLURM_CLUSTER_NAME"
JOB_ID = "SLURM_JOB_ID"
STEP_ID = "SLURM_STEP_ID"
RESTART_COUNT = "SLURM_RESTART_COUNT"
RANK = "SLURM_PROCID"
PROCESSES = "SLURM_NTASKS"
LOCAL_RANK = "SLURM_LOCALID"
NODE_NAME = "SLURMD_NODENAME"
STEP_NODE_LIST = "SLURM_STEP_NODELIST"
JOB_NODE_LIST = "SLURM_JOB_NODELIST"
STEP_GPUS = "SLURM_STEP_GPUS"
JOB_NODES = "SLURM_JOB_NUM_NODES"
JOB_GPUS = "SLURM_JOB_GPUS"
GPUS_PER_TASK = "SLURM_GPUS_PER_TASK"


@dataclass(frozen=True)
class Identity:
    """One rank of one step of one job, in one of its runs.

    `step` is unique on a cluster: `cluster.job.step.restart`.
    """

    step: str
    rank: int
    processes: int
    local_rank: int
    node: str
    node_list: str

    def token(self, rank: int, slot: int) -> int:
        """A number that only device `slot` of `rank` of this very run contributes.

        Returns an integer in [1, 2**31), so that a sum in which exactly one device
        contributes to an element fits an int32.
        """
        text = f"{self.step}/{rank}/{slot}"
        return zlib.crc32(text.encode()) % (2**31 - 1) + 1


def identify(environment: Mapping[str, str], hostname: str) -> Identity:
    """Reads a rank's identity; a program started without a launcher is rank 0 of 1.

    Raises UsageError when a variable is not the number it should be.
    """
    node = environment.get(NODE_NAME) or hostname
    if STEP_NODE_LIST not in environment:
        return Identity("local.0.0.0", 0, 1, 0, node, node)
    step = ".".join(
        (
            environment.get(CLUSTER, "cluster"),
            environment.get(JOB_ID, "0"),
            environment.get(STEP_ID, "0"),
            environment.get(RESTART_COUNT, "0"),
        )
    )
    return Identity(
        step,
        rank=_number(environment, RANK),
        processes=_number(environment, PROCESSES),
        local_rank=_number(environment, LOCAL_RANK),
        node=node,
        node_list=environment[STEP_NODE_LIST],
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name)
    if value is None or not value.isdecimal():
        raise UsageError(
            f"{name} is {value!r}, expected a number; start the program with srun,"
            " which sets it for every rank"
        )
    return int(value)
