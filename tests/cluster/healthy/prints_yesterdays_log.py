"""Prints the log of a failed job, with Slurm's messages about nodes and tasks that this job also has; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, say, work

LINES = """\
srun: error: node2: task 3: Exited with exit code 1
srun: error: node1: tasks 0-1: Killed
srun: error: node2: task 2: Segmentation fault (core dumped)
srun: error: node2: task 3: Out Of Memory
srun: Terminating StepId=1.0
srun: error: Node failure on node2
slurmstepd-node1: error: *** STEP 1.0 ON node1 CANCELLED AT 2026-11-28T01:02:03 ***
srun: Job step aborted: Waiting up to 32 seconds for job step to finish.
FAIL  G4N2p4: rank 3 on node2: Killed (reported by srun)
""".splitlines()

join()
add_up()
if RANK == 0:
    say(LINES)
work(20)
add_up()
end_well()
