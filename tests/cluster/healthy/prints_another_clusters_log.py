"""Prints the log of a larger job, with Slurm's messages about nodes and tasks that this job does not have; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, say, work

LINES = """\
srun: error: nid000417: tasks 1024-1151: Exited with exit code 1
srun: error: gpu[017-018]: task 77: Killed
srun: error: node2: task 9: Killed
srun: launch/slurm: _step_signal: Terminating StepId=4711.0
slurmstepd: error: *** JOB 4711 ON gpu017 CANCELLED AT 2026-11-28T01:02:03 DUE TO TIME LIMIT ***
slurmstepd: error: Detected 3 oom_kill events in StepId=4711.0. Some of the step tasks have been OOM Killed.
FAIL  G8N2p8: rank 5 on node2 ended in an exception: OSError: [Errno 28] No space left
PASS  G8N2p8: 8 processes on 2 nodes (node1, node2)
COULD NOT TELL  G8N2p8: Slurm ended the step: time limit; no rank is the cause
""".splitlines()

join()
add_up()
if RANK == 0:
    say(LINES)
work(20)
add_up()
end_well()
