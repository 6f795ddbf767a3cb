"""Ways to start a program with MPI's launchers, and what each rank must then find out: a table for record_environments.py."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from scenarios import BOTH, TWO_ON_EACH, Scenario, srun

# srun that speaks PMI itself, and MPI's own launchers: $MPI is a folder with them, see the
# recorder. All but the first two start a daemon on each node with srun.
SRUN_WITH_PMI = (
    srun(
        "mpi-pmi2",
        "srun speaks PMI2",
        f"{BOTH} --ntasks-per-node=2 --gpus-per-node=2 --mpi=pmi2",
        *TWO_ON_EACH,
    ),
    srun(
        "mpi-cray-shasta",
        "srun speaks Cray's PMI, a task on each node",
        f"{BOTH} --ntasks-per-node=1 --gpus-per-node=2 --mpi=cray_shasta",
        *("node1 0 0,1", "node2 0 0,1"),
    ),
)
TWO_NODES = "--nodes=2 --ntasks-per-node=2 --gpus-per-node=2"


def mpi(
    name: str, title: str, script: str, *ranks: str, by: str, **more: str | None
) -> Scenario:
    """A start by one of MPI's launchers."""
    launcher, variable = {
        "open-mpi": ("Open MPI", "OMPI_COMM_WORLD_RANK"),
        "pmix": ("PMIx", "PMIX_RANK"),
        "pmi": ("PMI", "PMI_RANK"),
    }[by]
    return Scenario(name, title, script, ranks, launcher, variable, **more)


MPI_LAUNCHERS = (
    mpi(
        "open-mpi-5",
        "Open MPI 5's mpirun in a job on two nodes",
        f'job "$MPI/openmpi/bin/mpirun --map-by ppr:2:node $SHOW" {TWO_NODES}',
        *TWO_ON_EACH,
        by="open-mpi",
    ),
    mpi(
        "open-mpi-5-one-node",
        "Open MPI 5's mpirun in a job on one node; two ranks share four GPUs",
        'job "$MPI/openmpi/bin/mpirun -n 2 $SHOW" --nodes=1 --ntasks=2 --gpus-per-node=4',
        *("node1 0 0,1", "node1 1 2,3"),
        by="open-mpi",
    ),
    mpi(
        "open-mpi-5-interactive",
        "Open MPI 5's mpirun in the shell that salloc opens on a node",
        f"salloc --quiet {TWO_NODES} srun --interactive --preserve-env"
        " $MPI/openmpi/bin/mpirun --map-by ppr:2:node $SHOW",
        *TWO_ON_EACH,
        by="open-mpi",
    ),
    mpi(
        "open-mpi-5-terminal",
        "Open MPI 5's mpirun without Slurm",
        "$MPI/openmpi/bin/mpirun --oversubscribe -n 2 $SHOW",
        *("login 0 -", "login 1 -"),
        by="open-mpi",
    ),
    mpi(
        "open-mpi-5-single",
        "Open MPI 5's mpirun with one rank",
        "$MPI/openmpi/bin/mpirun -n 1 $SHOW",
        "login 0 -",
        by="open-mpi",
    ),
    mpi(
        "open-mpi-4",
        "Open MPI 4's mpirun in a job on two nodes",
        f'job "$MPI/ompi4 --npernode 2 $SHOW" {TWO_NODES}',
        *TWO_ON_EACH,
        by="open-mpi",
    ),
    mpi(
        "open-mpi-4-terminal",
        "Open MPI 4's mpirun without Slurm",
        "$MPI/ompi4 --oversubscribe -n 2 $SHOW",
        *("login 0 -", "login 1 -"),
        by="open-mpi",
    ),
    mpi(
        "prterun",
        "PRRTE's prterun, with the topology",
        "JAX_SIF_TOPOLOGY=G2N1p2 $MPI/openmpi/bin/prterun -n 2 $SHOW",
        *("login 0 -", "login 1 -"),
        by="pmix",
    ),
    mpi(
        "prterun-bare",
        "PRRTE's prterun, without the topology: the number of ranks is unknown",
        "$MPI/openmpi/bin/prterun -n 2 $SHOW",
        *("login 0 -", "login 1 -"),
        by="pmix",
        error="JAX_SIF_TOPOLOGY",
    ),
    mpi(
        "mpich",
        "MPICH's mpiexec in a job on two nodes",
        f'job "$MPI/mpich/bin/mpiexec -n 4 -ppn 2 $SHOW" {TWO_NODES}',
        *TWO_ON_EACH,
        by="pmi",
    ),
    mpi(
        "mpich-like-its-daemons",
        "MPICH's mpiexec with as many ranks as daemons",
        f'job "$MPI/mpich/bin/mpiexec -n 2 -ppn 1 $SHOW" {TWO_NODES}',
        *("node1 0 0,1", "node2 0 0,1"),
        by="pmi",
    ),
    mpi(
        "mpich-terminal",
        "MPICH's mpiexec without Slurm",
        "$MPI/mpich/bin/mpiexec -n 2 $SHOW",
        *("login 0 -", "login 1 -"),
        by="pmi",
    ),
    mpi(
        "intel-mpi",
        "Intel MPI's mpiexec in a job on two nodes",
        f'job "$MPI/impi -n 4 -ppn 2 $SHOW" {TWO_NODES}',
        *TWO_ON_EACH,
        by="pmi",
    ),
    Scenario(
        "srun-within-mpirun",
        "a rank of mpirun's that calls srun",
        f'job "$MPI/openmpi/bin/mpirun -n 1 srun --overlap $SHOW" {TWO_NODES}',
        TWO_ON_EACH,
    ),
)

MPI_SCENARIOS = (*SRUN_WITH_PMI, *MPI_LAUNCHERS)

# What a launcher says where there is no Slurm around it, whose daemons it then starts over
# ssh: a recording without Slurm's variables. The mini cluster has no ssh.
WITHOUT_SLURM = {
    "open-mpi-5": None,
    "open-mpi-4": None,
    "mpich": "JAX_COORDINATOR_ADDRESS",
    "intel-mpi": "JAX_COORDINATOR_ADDRESS",
}
