"""All ranks are suspended for 15 s and continue, as Slurm does for a job of higher priority; runs as a rank."""
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
