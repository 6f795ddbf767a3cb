"""All ranks are stopped for 15 s and go on, as Slurm does with a job for one that comes first; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal
import subprocess

from _group import SCALE, add_up, end_well, join

join()
add_up()
resume = f"sleep {15 * SCALE}; kill -CONT {os.getpid()}"
subprocess.Popen(["sh", "-c", resume])
os.kill(os.getpid(), signal.SIGSTOP)
add_up()
end_well()
