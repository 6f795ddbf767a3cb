"""Another job of the same user connects to the coordinator as a rank of the job: the job is unharmed."""
# SPDX-License-Identifier: Apache-2.0

import contextlib

from fault import PASSES, Fault, stranger, wait_for_the_stranger

# The stranger tries for a while, and the ranks wait for him.
FAULT = Fault(says=PASSES, status=0, job="G4N2p4", within_s=30, has_baseline=False)


def in_rank(rank):
    wait_for_the_stranger(rank)


@contextlib.contextmanager
def around(cluster):
    words = ("srun", "--ntasks=1", "--nodelist=node2", "singularity", "run")
    with stranger(cluster, lambda *program: cluster.run(*words, *program)):
        yield {}
