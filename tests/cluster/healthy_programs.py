"""The collection of healthy programs: which there are, how each runs as a job, and what it must not suffer; runs on the machine with the mini cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from cluster import CHECKOUT, Cluster, Job

FOLDER = CHECKOUT / "tests/cluster/healthy"
TOPOLOGY = "G4N2p4"
RANKS = range(4)

# How the program joins its group: through the kit's initialize_distributed(), or by
# jax.distributed.initialize() behind the image's entry.
KIT, PLAIN = "kit", "plain"
# The same plain program without the entry and without a judge: whether it is healthy.
ALONE = "alone"

# The kit's programs form one group of the whole step.
_PLAIN_ONLY = {"meets_on_each_node"}
# Nothing of their end can be known but that nothing failed.
_UNHEARD = {"leaves_by_os_exit", "output_goes_elsewhere"}

# Longer than any needs on a busy machine.
_LIMIT_S = 600
_TIMED_OUT = 124

_READY = 'cd; module use "$1/modulefiles"; module load "$2"; export APPTAINER_BIND="$1"'
_WITH_KIT = f'{_READY}\njax-sif job "$3" "$4" > "$5"\n'
_ALONE = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=2 --cpus-per-task=4 --gpus-per-node=2 --time=10
srun --cpus-per-task=4 --kill-on-bad-exit=1 --unbuffered \\
  singularity exec "$JAX_IMAGE" python "{program}" 2>&1
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one job of the collection."""

    name: str
    way: str
    job: Job
    # Not one of the image's diagnostics, which have no last line of their own.
    is_program: bool = True

    @property
    def harm(self) -> str:
        """What it suffered, in a few words; empty where nothing."""
        if self.job.status:
            return f"status {self.job.status}"
        missing = [rank for rank in RANKS if not self._has_ended_well(rank)]
        if missing and self.is_program:
            return f"ranks {missing} did not print their last line"
        return ""

    @property
    def alarm(self) -> str:
        """The job's last line, where it is not that of a healthy job."""
        if self.way == ALONE:
            return ""
        is_heard = self.way == KIT and self.name not in _UNHEARD
        calm = ("PASS  ",) if is_heard else ("PASS  ", "NO VERDICT  ")
        return "" if self._last_line.startswith(calm) else self._last_line or "nothing"

    @property
    def warnings(self) -> int:
        """How many warnings stand above a pass."""
        counted = re.search(r"^PASS .*: (\d+) warning", self._last_line)
        return int(counted[1]) if counted else 0

    @property
    def _last_line(self) -> str:
        lines = self.job.output.strip().split("\n")
        # The advice below NO VERDICT belongs to it.
        return next((x for x in reversed(lines) if not x.startswith("   ->")), "")

    def _has_ended_well(self, rank: int) -> bool:
        return f"\nrank {rank} ended well\n" in self.job.output


def programs() -> list[tuple[str, str]]:
    """Each program by its name, and the ways in which it runs."""
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    return [
        (name, way)
        for way in (KIT, PLAIN)
        for name in names
        if way == PLAIN or name not in _PLAIN_ONLY
    ]


def run(cluster: Cluster, name: str, way: str, scale: float = 1) -> Outcome:
    """Writes the job as a user does, submits it, and waits for its end.

    Args:
      scale: of the seconds that the programs take for their own work.
    """
    script = Path(f"/home/hpc/{name}-{way}-{uuid.uuid4().hex[:8]}.slurm")
    program = FOLDER / f"{name}.py"
    if way == ALONE:
        text = _ALONE.format(program=program)
        done = cluster.bash('printf %s "$1" > "$2"', text, str(script))
    else:
        words = (str(cluster.checkout), cluster.module, TOPOLOGY, str(program))
        done = cluster.bash(_WITH_KIT, *words, str(script))
    assert done.returncode == 0, done.stderr
    start = KIT if way == KIT else PLAIN
    try:
        job = cluster.submit(
            script,
            APPTAINER_BIND=str(cluster.checkout),
            HEALTHY_START=start,
            HEALTHY_SCALE=str(scale),
            limit_s=_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        # A job that never ends is harmed, too; the others go on.
        job = Job(_TIMED_OUT, str(error))
    cluster.run("rm", str(script))
    return Outcome(name, way, job)
