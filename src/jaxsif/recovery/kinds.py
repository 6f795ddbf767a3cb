"""What a finding is evidence of: a node, a suspicion, no node, the program, the user."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from enum import Enum


class Evidence(Enum):
    """What the first finding of an attempt says about a restart."""

    # The named node cannot run the program: it is left out.
    NODE = "node"
    # The named node may be at fault: it is left out the second time.
    SUSPECT = "suspect"
    # A link, or no node at all: the same nodes again, after a pause.
    NO_NODE = "no-node"
    # The program raised: once more, and never twice the same.
    PROGRAM = "program"
    # The job was ended from outside.
    OUTSIDE = "outside"
    # Wrong usage, a wrong configuration, and every kind that is in no list here: a
    # restart would end in the same way.
    FINAL = "final"


_NODE = """
slurm-node-failed slurm-launch-failed slurm-launch-timeout slurm-munge-down
slurm-clock-or-munge
gpu-lost gpu-driver driver-hangs gpu-ecc gpu-xid gpu-row-remap gpu-recovery gpu-compute
xid-79-off-the-bus xid-48-double-bit-error xid-64-row-not-remapped xid-74-nvlink
xid-95-uncontained xid-119-gsp
cuda-ecc cuda-no-device cuda-no-kernel-module cuda-system-not-ready cuda-driver-mismatch
image-missing image-unreadable container-user-namespace container-fuse
container-image-damaged container-squashfuse container-superblock
container-file-system-lost container-extraction container-creation
host-image-read-error dev-shm-too-small infiniband-down
foreign-peer wrong-sum data-corrupt-collective
"""
_SUSPECT = """
rank-silent rank-left rank-missing rank-incomplete rank-exited hang launcher-hangs
deadline-exceeded jax-heartbeat-lost
slurm-task-killed slurm-task-segfault slurm-task-bus-error slurm-task-aborted
slurm-task-illegal-instruction slurm-task-ended slurm-out-of-memory
cuda-unknown-error cuda-launch-failed cuda-illegal-address xid-94-contained xid-other
jax-plugin-error host-stale-file host-disk-full disk-full
"""
_NO_NODE = """
coordinator-not-listening coordinator-unreachable coordinator-packets-dropped
jax-ranks-missing jax-register-timeout jax-coordinator-silent jax-coordinator-lost
jax-local-topology jax-global-topology jax-shutdown-barrier jax-shutdown-failed
jax-service-fatal jax-polled-error jax-already-in-error jax-other-incarnation
xla-rendezvous-ended xla-rendezvous-stuck
gloo-refused gloo-closed gloo-timeout gloo-context
nccl-infiniband-timeout nccl-infiniband-error nccl-unreachable nccl-refused
nccl-remote-error nccl-closed nccl-system-error nccl-failed nccl-cuda-failure
port-taken kit-port-taken jax-port-taken pair-timeout data-corrupt-pair
slurm-controller-slow slurm-controller-down secondary-errors no-records
standstill
"""
_PROGRAM = """
program-failed python-exception collective-desync xla-out-of-memory cuda-out-of-memory
nccl-out-of-memory xla-collective-mismatch xid-13-31-program
"""
_OUTSIDE = """
cancelled terminated slurm-time-limit slurm-preempted slurm-requeued slurm-job-cancelled
"""

KINDS: dict[str, Evidence] = {
    kind: evidence
    for evidence, names in (
        (Evidence.NODE, _NODE),
        (Evidence.SUSPECT, _SUSPECT),
        (Evidence.NO_NODE, _NO_NODE),
        (Evidence.PROGRAM, _PROGRAM),
        (Evidence.OUTSIDE, _OUTSIDE),
    )
    for kind in names.split()
}
