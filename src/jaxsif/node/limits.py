"""Checks of the node's name, limits and directories, and of the program's launch."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.core.errors import Problem
from jaxsif.core.hostlist import expand
from jaxsif.core.slurm_env import (
    JOB_ID,
    JOB_NODES,
    PROCESSES,
    RANK,
    STEP_NODE_LIST,
    STEP_NODES,
    is_local_launch,
)
from jaxsif.core.text import format_size
from jaxsif.node.host import GIB, MIB, HostInfo

# NVIDIA's recommendation for containers: `--shm-size=1g --ulimit memlock=-1` (docs.
# nvidia.com/deeplearning/frameworks/user-guide, "Setting The Shared Memory Flag").
MIN_SHM_BYTES = GIB
MIN_FREE_BYTES = 64 * MIB
MIN_FREE_INODES = 100
# RDMA pins its buffers; the usual limits, 64 KiB and 8 MiB, end in "ibv_reg_mr: Cannot
# allocate memory" (NVIDIA/nccl-tests#206).
MIN_LOCKED_BYTES = 64 * MIB
# Besides the one that gloo opens to every other process: measured 13, and JAX's own.
KIT_OPEN_FILES = 64
RECOMMENDED_OPEN_FILES = 1024

_ADDRESSES_OF_SELF = ("127.", "::1")


def not_under_srun(host_info: HostInfo) -> Iterator[Problem]:
    """Report a plain `python` in an allocation of several tasks, without ranks."""
    environment = host_info.environment
    if JOB_ID not in environment or STEP_NODE_LIST in environment:
        return
    # Another launcher, or a coordinator set by hand.
    if {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "JAX_COORDINATOR_ADDRESS"} & set(
        environment
    ):
        return
    tasks = host_info.number(PROCESSES) or 1
    nodes = host_info.number(JOB_NODES) or 1
    if tasks > 1 or nodes > 1:
        yield Problem(
            "not-under-srun",
            f"the job has {tasks} tasks on {nodes} nodes, but this program was not"
            " started by srun: it runs only once, without a group",
            "put srun before the command: srun singularity run --nv $JAX_IMAGE python"
            " ...",
        )


def hostname(host_info: HostInfo) -> Iterator[Problem]:
    """JAX's CPU collectives listen at the node's own name, even in GPU jobs."""
    name = host_info.host_name
    addresses = host_info.resolve(name)
    if not addresses:
        yield Problem(
            "hostname-unresolvable",
            f"the node's own host name {name!r} does not resolve to an address",
            "add the name to /etc/hosts of the node or to the site's DNS; JAX cannot"
            " start its CPU back end without it",
        )
    elif addresses[0].startswith(_ADDRESSES_OF_SELF) and _step_nodes(host_info) > 1:
        yield Problem(
            "hostname-unresolvable",
            f"the node's own host name {name!r} resolves to {addresses[0]}, which other"
            " nodes cannot reach",
            "let the name resolve to the node's address in the cluster's network; look"
            " for a line such as `127.0.1.1 name` in /etc/hosts",
            is_fatal=_computes_on_cpu(host_info),
        )


def open_files(host_info: HostInfo) -> Iterator[Problem]:
    """Connections are open files: to every process (gloo), or from each (rank 0)."""
    limit, hard_limit = host_info.open_files, host_info.open_files_hard_limit
    processes = host_info.number(PROCESSES) or 1
    is_hub = host_info.variable(RANK) in ("", "0")
    needed = KIT_OPEN_FILES
    if _computes_on_cpu(host_info) or is_hub:
        needed += processes
    if limit >= max(needed, RECOMMENDED_OPEN_FILES):
        return
    raised = max(4096, 2 * needed)
    remedy = f"raise it before srun: ulimit -n {raised}"
    if hard_limit < raised:
        remedy = (
            f"the hard limit is {hard_limit:.0f}: raise LimitNOFILE of slurmd, or the"
            f" nofile limit in /etc/security/limits.conf, to {raised}"
        )
    yield Problem(
        "open-files",
        f"this process may open {limit:.0f} files, but {processes} processes need"
        f" about {needed}"
        if limit < needed
        else f"this process may open {limit:.0f} files only",
        remedy,
        is_fatal=limit < needed,
    )


def shared_memory(host_info: HostInfo) -> Iterator[Problem]:
    """NCCL exchanges data between the processes of a node in /dev/shm."""
    space = host_info.disk_space("/dev/shm")
    remedy = (
        "give the node or the container more: mount -o remount,size=50% /dev/shm, or"
        " --shm-size=1g where an OCI engine starts it"
    )
    if space is None:
        text = "there is no /dev/shm"
    elif not space.is_writable:
        text = "/dev/shm cannot be written"
    elif space.size_bytes < MIN_SHM_BYTES:
        text = f"/dev/shm has {format_size(space.size_bytes)}, 1 GiB is recommended"
    elif space.free_bytes < MIN_FREE_BYTES:
        text = f"/dev/shm is full: {format_size(space.free_bytes)} left"
        remedy = "remove files of ended jobs: ls -l /dev/shm"
    else:
        return
    yield Problem("dev-shm-too-small", text, remedy, is_fatal=False)


def locked_memory(host_info: HostInfo) -> Iterator[Problem]:
    """RDMA needs locked memory."""
    devices = host_info.names("/sys/class/infiniband")
    limit = host_info.locked_bytes
    if devices and limit < MIN_LOCKED_BYTES:
        yield Problem(
            "locked-memory-limit",
            f"this process may lock {format_size(limit)} of memory; RDMA over"
            f" {', '.join(devices)} needs more",
            "set `* - memlock unlimited` in /etc/security/limits.conf, LimitMEMLOCK="
            "infinity for slurmd, and PropagateResourceLimitsExcept=MEMLOCK in"
            " slurm.conf",
            is_fatal=False,
        )


def temporary_space(host_info: HostInfo) -> Iterator[Problem]:
    """XLA compiles through temporary files."""
    directory = temporary_dir(host_info)
    space = host_info.disk_space(directory)
    remedy = "clean it up, or choose another directory with TMPDIR"
    if space is None:
        text = f"the directory for temporary files {directory!r} does not exist"
        remedy = "create it, or choose another directory with TMPDIR"
    elif space.free_bytes < MIN_FREE_BYTES:
        text = f"{directory} is full: {format_size(space.free_bytes)} left"
    elif space.free_inodes is not None and space.free_inodes < MIN_FREE_INODES:
        text = f"{directory} is full: {space.free_inodes} inodes left"
    else:
        return
    yield Problem("disk-full", text, remedy, is_fatal=False)


def temporary_dir(host_info: HostInfo) -> str:
    return host_info.variable("TMPDIR") or "/tmp"


def _computes_on_cpu(host_info: HostInfo) -> bool:
    return host_info.uses_cpu_stand_ins or not host_info.expects_gpus


def _step_nodes(host_info: HostInfo) -> int:
    if is_local_launch(host_info.environment):
        return 1
    nodes = host_info.number(STEP_NODES)
    if nodes:
        return nodes
    try:
        return len(expand(host_info.variable(STEP_NODE_LIST)))
    except ValueError:
        return 1
