"""Writes down what a launcher sets for one process: record_rank.py FOLDER; runs as a rank, beside any other program."""
# SPDX-License-Identifier: Apache-2.0

import json
import os
import re
import socket
import struct
import sys
import tempfile

# What identifies a process, and which GPUs it sees. All else is the machine's or the
# user's own business, and does not belong into a repository.
TELLING = re.compile(
    r"SLURM_(CLUSTER_NAME|JOB_ID|RESTART_COUNT|PROCID|NTASKS|NTASKS_PER_NODE|LOCALID|NODEID"
    r"|STEP_(?!LAUNCHER)\w+|JOB_NODELIST|JOB_NUM_NODES|JOB_GPUS|TASKS_PER_NODE|GPUS?_\w+"
    r"|GPUS|TRES_\w+|DISTRIBUTION|HOSTFILE|HET_SIZE|ARRAY_TASK_ID)"
    r"|SLURMD_NODENAME|CUDA_VISIBLE_DEVICES"
    r"|OMPI_COMM_WORLD_\w+|OMPI_MCA_orte_hnp_uri|PRTE_LAUNCHED|PMIX_(RANK|NAMESPACE)"
    r"|PMI_(RANK|SIZE|FD|JOBID|LOCAL_RANK|LOCAL_SIZE|HOSTNAME)|MPI_LOCAL\w+"
    r"|PALS_(APID|RANKID|LOCAL_RANKID|NODEID)|I_MPI_HYDRA_UUID"
    r"|JAX_COORDINATOR_ADDRESS|JAX_SIF_(TOPOLOGY|LOCAL_RANKS)"
)


def proxy() -> "int | None":
    """The process at the other end of Hydra's connection."""
    try:
        connection = socket.socket(fileno=os.dup(int(os.environ["PMI_FD"])))
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("3i", found)[0]
    except (KeyError, OSError):
        return None


def first_line(path: "str | None") -> "str | None":
    if not path:
        return None
    with open(path) as file:
        return file.readline().strip()


record = {
    "host_name": socket.gethostname(),
    "proxy": proxy(),
    "host_file": first_line(os.environ.get("SLURM_HOSTFILE")),
    "environment": {k: v for k, v in os.environ.items() if TELLING.fullmatch(k)},
}
with tempfile.NamedTemporaryFile(
    "w", dir=sys.argv[1], suffix=".json", delete=False
) as file:
    json.dump(record, file)
