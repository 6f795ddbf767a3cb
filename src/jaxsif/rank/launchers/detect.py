"""Detect the launcher of this process, even with variables of several."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.slurm_env import (
    JOB_ID,
    PROCESSES,
    RANK,
    STEP_ID,
    STEP_NODE_LIST,
    STEP_NODES,
    STEP_PROCESSES,
)

# The variable by which each is recognised, in this order. The innermost launcher comes
# first: mpirun and mpiexec start a daemon on each node with srun, and their ranks inherit
# the variables of the daemon's step, or of the batch script. Open MPI also sets PMIx's
# variable.
MARKER_VARIABLES = {
    "open_mpi": "OMPI_COMM_WORLD_RANK",
    "pmix": "PMIX_RANK",
    "pmi": "PMI_RANK",
    "slurm": STEP_NODE_LIST,
    "kubernetes": "JOB_COMPLETION_INDEX",
}
SINGLE = "single"
# Module and class of each.
LAUNCHERS = {
    "open_mpi": "mpi.OpenMpi",
    "pmix": "mpi.Pmix",
    "pmi": "mpi.Pmi",
    "slurm": "slurm.Slurm",
    "kubernetes": "kubernetes.Kubernetes",
    SINGLE: "single.Single",
}

_MPI_LAUNCHERS = ("open_mpi", "pmix", "pmi")
# The variables in which PMI names its step, if srun itself provides PMI (--mpi=pmix,
# --mpi=pmi2, --mpi=cray_shasta), and their format.
_STEP_NAMES = {
    "PMIX_NAMESPACE": "slurm.pmix.{job}.{step}",
    "PMI_JOBID": "{job}.{step}",
    "PALS_APID": "{job}.{step}",
}
# The shell that salloc opens on a node (LaunchParameters=use_interactive_step), as Slurm
# 26.05 and as older ones write it. It is a step, but no rank of anything.
_INTERACTIVE_STEPS = ("-6", "4294967290")


def detect_launcher(environment: Mapping[str, str]) -> str:
    """The name of the launcher, a key of LAUNCHERS."""
    for name, variable in MARKER_VARIABLES.items():
        if not environment.get(variable):
            continue
        if name in _MPI_LAUNCHERS and is_started_by_srun(environment):
            return "slurm"
        if name == "slurm" and environment.get(STEP_ID) in _INTERACTIVE_STEPS:
            continue
        return name
    return SINGLE


def is_started_by_srun(environment: Mapping[str, str]) -> bool:
    """Whether a process with MPI's variables is nevertheless a task of srun.

    Either srun provides PMI, and PMI names srun's step and rank; or MPI's variables are
    older than the step, for example if a rank of mpirun calls srun: the step has more
    tasks than nodes, while a step of daemons has one per node.
    """
    if STEP_NODE_LIST not in environment:
        return False
    if _has_more_tasks_than_nodes(environment):
        return True
    job, step = environment.get(JOB_ID), environment.get(STEP_ID)
    is_named = any(
        environment.get(variable) == name.format(job=job, step=step)
        for variable, name in _STEP_NAMES.items()
    )
    return is_named and environment.get(RANK) == _rank_by_pmi(environment)


def _has_more_tasks_than_nodes(environment: Mapping[str, str]) -> bool:
    tasks = environment.get(STEP_PROCESSES) or environment.get(PROCESSES, "")
    nodes = environment.get(STEP_NODES, "")
    return tasks.isdecimal() and nodes.isdecimal() and int(tasks) > int(nodes)


def _rank_by_pmi(environment: Mapping[str, str]) -> str | None:
    return environment.get(MARKER_VARIABLES["pmix"]) or environment.get(
        MARKER_VARIABLES["pmi"]
    )
