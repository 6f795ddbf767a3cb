"""A program without JAX that ends in each attempt as its argument says; it runs in two ranks on two nodes."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

mode, folder = sys.argv[1], Path(sys.argv[2])
rank, attempt = os.environ["SLURM_PROCID"], os.environ["JAX_SIF_ATTEMPT"]
left = folder / "left"


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.1)


if mode == "usage":
    sys.exit("usage: no such option")
if mode == "raises":
    if rank == "1":
        raise ValueError("no such data")
    time.sleep(600)
# The first attempt leaves a process of another session, and loses a rank.
if attempt == "1":
    if rank == "0":
        # Its streams are its own: a pipe of srun would keep the step alive.
        null = subprocess.DEVNULL
        other = subprocess.Popen(
            ["sleep", "600"],
            stdin=null,
            stdout=null,
            stderr=null,
            start_new_session=True,
        )
        (folder / "new").write_text(str(other.pid))
        (folder / "new").rename(left)
        time.sleep(600)
    wait_for(left)
    os.kill(os.getpid(), signal.SIGKILL)
print(f"rank {rank} on {os.environ['SLURMD_NODENAME']}: attempt {attempt}", flush=True)
if rank == "0":
    is_alive = Path(f"/proc/{left.read_text()}/cmdline").exists()
    print("something is left" if is_alive else "nothing is left", flush=True)
